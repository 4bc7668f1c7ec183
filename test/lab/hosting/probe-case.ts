import { hostingTimings } from '../../../scheduler/hosting/hosting-timings.ts';
import { sleep, until } from '../../e2e/rig.ts';
import { Chance } from '../../sim/chance.ts';
import type { Lab } from '../lab.ts';
import type { LabMachine } from '../lab-machine.ts';
import { continueAll, signalTo, stopAll } from '../machine-processes.ts';
import { demand, type HostedLab, image, seconds } from './hosted-lab.ts';
import type { LabCase } from './machine-cases.ts';
import { outlasts, type ProbeFault, scheduleOf, wordsOf } from './probe-schedule.ts';
import { addressesIn, isTimed, ProbeWriters, whatTwoDid } from './probe-writers.ts';
import { well } from './well.ts';

export interface ProbeWish {
  /** So long schedules are begun. */
  forMs: number;
  seed: number;
  say(line: string): void;
}

/** The least that a mesh takes, W_t. */
const graceMs = 5000;
const { leaseMs } = hostingTimings;

type Deed = (lab: Lab, one: LabMachine, other: LabMachine) => unknown;

const deaf: Deed = (lab, one, other) => lab.lan.block(lab.number(one), lab.number(other));
const hears: Deed = (lab, one, other) => lab.lan.unblock(lab.number(one), lab.number(other));
const bothWays =
  (deed: Deed): Deed =>
  (lab, one, other) => [deed(lab, one, other), deed(lab, other, one)];
/** Also what somebody else had stopped meanwhile. */
const goesOn: Deed = (_, { namespace }) => continueAll(namespace);

/** The agent alone, and nothing in a machine that stands still: there even the question to its engine would hold the probe up. */
const begins: Deed = async (lab, one) => {
  await until(`${one.name} goes on`, () => one.processes().every(({ state }) => state !== 'T'));
  one.startAgent(lab.boot(one));
  await until(`the agent of ${one.name} is there`, () => one.agents().length > 0);
};

/** What each fault does, and what undoes it. */
const deeds: Record<ProbeFault['kind'], readonly [Deed, Deed]> = {
  cable: [(lab, one) => lab.lan.unplug(lab.number(one)), (lab, one) => lab.lan.plug(lab.number(one))],
  'one way': [deaf, hears],
  'both ways': [bothWays(deaf), bothWays(hears)],
  'stop machine': [(_, { namespace }) => stopAll(namespace), goesOn],
  'stop agent': [(_, one) => signalTo(one.agents(), 'SIGSTOP'), goesOn],
  'kill agent': [(_, one) => one.killAgent(), begins],
};

/** Does it, and undoes it after its time. */
async function happen({ lab }: HostedLab, { kind, of, fromMs, forMs }: ProbeFault): Promise<void> {
  const [one, other = one] = of.map((name) => lab.machine(name)) as [LabMachine, LabMachine?];
  const [does, undoes] = deeds[kind];
  await sleep(fromMs);
  await does(lab, one, other);
  await sleep(forMs);
  await undoes(lab, one, other);
}

async function probe(hosted: HostedLab, { forMs, seed, say }: ProbeWish): Promise<string> {
  const { lab, kang } = hosted;
  await hosted.bringImageToAll();
  for (const key of ['inSyncGraceMs', 'graceMs']) await hosted.done(kang, 'settings', key, `${graceMs}`);
  const names = lab.machines.map(({ name }) => name);
  const chance = new Chance(seed);
  const writers = new ProbeWriters({
    ...{ machines: lab.machines, doors: hosted.doors, token: hosted.gitlab.token, project: 'root/rounds' },
    addressesOn: ({ engine }) => addressesIn(engine.host, image),
  });
  const sums = { schedules: 0, moves: 0, acks: 0, unsure: 0, cuts: 0, stops: 0 };
  const began = performance.now();
  const told = (): string => {
    const { schedules, moves, acks, unsure, cuts, stops } = sums;
    const kinds = `${cuts} with a cut one way and ${stops} with a SIGSTOP that outlast the lease`;
    const refused = `${writers.refusedAround} to containers' own addresses refused`;
    return `${schedules} schedules of seed ${seed} (${kinds}) in ${seconds(performance.now() - began)}, ${moves} moves, ${acks} writes acknowledged (${unsure} too slow to say when), ${refused}: never by two, never by a container's own address`;
  };
  const tell = (): void => say(`probe: ${told()}`);
  // Before what removes the lab then and ends the process.
  process.prependOnceListener('SIGINT', tell);
  const looks = setInterval(() => writers.look(), 2000);
  try {
    writers.look();
    let host = await well(hosted);
    while (performance.now() - began < forMs) {
      writers.taken();
      const before = (await hosted.status(lab.machine(host))).epoch;
      const leader = (await kang.status()).leader?.node ?? host;
      const faults = scheduleOf(chance, names, [host, host, leader]);
      await Promise.all(faults.map((fault) => happen(hosted, fault)));
      host = await well(hosted);
      const { epoch } = await hosted.status(lab.machine(host));
      const seen = writers.taken();
      const two = whatTwoDid(seen, hosted.doors, epoch - before);
      const words = faults.map(wordsOf).join(', ');
      const through = new Set(seen.map(({ from, target }) => `${from} ${target}`)).size;
      sums.schedules += 1;
      sums.cuts += Number(outlasts(faults, ['one way'], leaseMs));
      sums.stops += Number(outlasts(faults, ['stop machine', 'stop agent'], leaseMs));
      sums.moves += epoch - before;
      sums.acks += seen.length;
      sums.unsure += seen.filter((ack) => !isTimed(ack)).length;
      say(
        `probe ${String(sums.schedules).padStart(3)} of seed ${seed}: ${words}: ${seen.length} acknowledged on ${through} ways, ${epoch - before} epochs, on ${host}`,
      );
      demand(two === null, `schedule ${sums.schedules} of seed ${seed} (${words}): ${two}`);
      // After three moves without ten minutes at one machine none would follow by itself.
      await hosted.cli(kang, '--yes', 'gitlab', 'clear-flag');
    }
  } finally {
    process.off('SIGINT', tell);
    clearInterval(looks);
    writers.end();
  }
  demand(sums.acks > 0, 'nothing was acknowledged at all');
  demand(writers.refusedAround > 0, "no container's own address was written to");
  return told();
}

/** Only where it is named: it takes as long as one lets it. */
export const probeCase = (wish: ProbeWish): LabCase => ({
  name: 'probe',
  what: 'writers at every address while machines are cut, stopped and killed at random (--for, --seed); only where it is named',
  run: (hosted) => probe(hosted, wish),
});
