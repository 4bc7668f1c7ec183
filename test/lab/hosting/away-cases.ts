import { failoversMost } from '../../../scheduler/hosting/failover-rules.ts';
import { sleep, until } from '../../e2e/rig.ts';
import { plug, resume, suspend, unplug } from '../faults.ts';
import type { LabMachine } from '../lab-machine.ts';
import { demand, type HostedLab, seconds } from './hosted-lab.ts';
import { cutOff, during, exHost, type Life, powerOn, runsOn } from './life.ts';
import type { LabCase } from './machine-cases.ts';
import { well } from './well.ts';

/** ms: a grace of 45 s, a boot, and a machine that others use too. */
const moveLimitMs = 240_000;
/** ms, as the issue has it. */
const switchMs = 40_000;
const lastMs = 120_000;
/** ms without two of three: longer than the grace and a boot. */
const twoLostMs = 75_000;

/** What each machine that is on says of the last move, in `status` and in its log. */
async function told(life: Life, machines: readonly LabMachine[], since: number): Promise<string> {
  const { hosted } = life;
  let words = '';
  for (const machine of machines) {
    const because = await until(
      `${machine.name} says how it moved`,
      async () => {
        const { move } = await hosted.status(machine);
        return move?.ended?.from === life.host.name ? move.ended.because : null;
      },
      30_000,
    );
    const logged = machine.agent.log().some(({ time, msg }) => time >= since && String(msg).includes(life.host.name));
    demand(logged, `the log of ${machine.name} says nothing of it`);
    words = because ?? words;
  }
  return `"${words}"`;
}

interface Loss {
  falls(host: LabMachine): Promise<unknown>;
  rises(host: LabMachine): Promise<unknown>;
  /** Also lost, and back. */
  beside?: (life: Life) => Promise<LabMachine>;
}

/** The host is lost in that way, and is back in another one once GitLab serves elsewhere. */
async function lost(hosted: HostedLab, name: string, { falls, rises, beside }: Loss): Promise<string> {
  return during(hosted, name, async (life) => {
    const second = await beside?.(life);
    const gone = [life.host, ...(second ? [second] : [])];
    const since = Date.now();
    life.mark();
    await Promise.all(gone.map(falls));
    const ms = await life.pushesGoOn(moveLimitMs);
    const to = await life.movedTo(moveLimitMs);
    const others = hosted.lab.machines.filter((machine) => !gone.includes(machine));
    const words = await told(life, others, since);
    for (const machine of gone) await rises(machine);
    const back = await exHost(life);
    const from = gone.map((machine) => machine.name).join(' and ');
    return `without ${from} on ${to.name}, a push after ${seconds(ms)}: ${words}; ${await life.jobEnded()}; ${back}`;
  });
}

const byPower = (hosted: HostedLab): Loss => ({
  falls: (host) => cutOff(hosted, host),
  rises: (host) => powerOn(hosted, host),
});

const power = (hosted: HostedLab): Promise<string> => lost(hosted, 'power', byPower(hosted));

const pulled = (hosted: HostedLab): Promise<string> =>
  lost(hosted, 'pulled', { falls: (host) => unplug(hosted.lab, host), rises: (host) => plug(hosted.lab, host) });

/** A suspended machine's kernel is in no lab: all of it stands still, and goes on as it was. */
const suspended = (hosted: HostedLab): Promise<string> =>
  lost(hosted, 'suspended', {
    falls: (host) => suspend(hosted.lab, host),
    rises: (host) => resume(hosted.lab, host),
  });

/** Of five machines, so that a majority is left. */
const twoDie = (hosted: HostedLab): Promise<string> =>
  lost(hosted, 'two-die', {
    ...byPower(hosted),
    async beside({ host, desk }) {
      const { standbys = [] } = await hosted.status(desk);
      const one = standbys.find(({ node, inSync }) => inSync && node !== desk.name && node !== host.name);
      demand(one !== undefined, 'no machine is in sync');
      await hosted.inSync(standbys.map(({ node }) => node));
      return hosted.lab.machine(one?.node);
    },
  });

async function rebooted(hosted: HostedLab): Promise<string> {
  return during(
    hosted,
    'reboot',
    async (life) => {
      life.mark();
      await cutOff(hosted, life.host);
      await sleep(15_000);
      await powerOn(hosted, life.host);
      const ms = await life.pushesGoOn(120_000);
      await life.stayed();
      await until('nothing is booted beside any more', () => besides(hosted) === 0, 60_000);
      return `off for 15 s, a push after ${seconds(ms)} on the same machine; ${await life.jobEnded()}`;
    },
    60,
  );
}

const besides = ({ lab }: HostedLab): number =>
  lab.machines.flatMap(({ engine }) =>
    engine
      .docker(['ps', '-aq', '--filter', 'label=autogit.purpose=boot beside'])
      .stdout.toString()
      .split('\n')
      .filter(Boolean),
  ).length;

/** The switch of the whole LAN is away: nobody sees anybody, and each machine runs on. */
async function switchAway(hosted: HostedLab): Promise<string> {
  return during(
    hosted,
    'switch',
    async (life) => {
      const began = hosted.startedAt();
      life.mark();
      for (const machine of hosted.lab.machines) hosted.lab.lan.unplug(hosted.lab.number(machine));
      await sleep(switchMs);
      for (const machine of hosted.lab.machines) hosted.lab.lan.plug(hosted.lab.number(machine));
      const ms = await life.pushesGoOn(60_000);
      await life.stayed();
      demand(hosted.startedAt() === began, 'its container was begun anew');
      return `away for ${seconds(switchMs)}, a push ${seconds(ms - switchMs)} after by the same container; ${await life.jobEnded()}`;
    },
    100,
  );
}

/** The host and one more of three: no majority, so nothing moves, and that is said. */
async function twoLost(hosted: HostedLab): Promise<string> {
  return during(hosted, 'two-lost', async (life) => {
    const { lab } = hosted;
    const second = lab.machines.find((machine) => machine !== life.host && machine !== life.desk) as LabMachine;
    life.mark();
    await Promise.all([cutOff(hosted, life.host), cutOff(hosted, second)]);
    await sleep(twoLostMs);
    await life.stayed();
    demand(besides(hosted) === 0, 'something was booted without a majority');
    const { leader, attention } = await life.desk.status();
    demand(leader === null, `one of three has a leader: ${leader?.node}`);
    const words = attention.find(({ code }) => code === 'no-quorum');
    demand(words !== undefined, `nothing of it is said: ${attention.map(({ code }) => code)}`);
    await powerOn(hosted, second);
    await powerOn(hosted, life.host);
    const ms = await life.pushesGoOn(120_000);
    await life.stayed();
    return `"${words?.sentence}"; both back: a push ${seconds(ms - twoLostMs)} after on the same machine; ${await life.jobEnded()}`;
  });
}

/** The power of the house: all at once, and back one after the other, the host last. */
async function allCut(hosted: HostedLab): Promise<string> {
  return during(
    hosted,
    'all-cut',
    async (life) => {
      const { lab } = hosted;
      const [first, second] = lab.machines.filter((machine) => machine !== life.host) as [LabMachine, LabMachine];
      await Promise.all(lab.machines.map((machine) => cutOff(hosted, machine)));
      await sleep(3000);
      life.mark();
      await powerOn(hosted, second);
      await powerOn(hosted, first);
      const both = performance.now();
      await sleep(lastMs - 20_000);
      const { hosted: said } = await hosted.status(life.desk);
      await sleep(Math.max(0, lastMs - (performance.now() - both)));
      await powerOn(hosted, life.host);
      const ms = await life.pushesGoOn(120_000);
      await life.stayed();
      return `${life.host.name} back ${seconds(lastMs)} after the others ("${said?.because}"): a push ${seconds(ms - lastMs)} after, no move`;
    },
    20,
  );
}

/** Its host falls silent again and again: after the third move a person has to look. */
async function flagged(hosted: HostedLab): Promise<string> {
  const { lab } = hosted;
  await hosted.bringImageToAll();
  await hosted.done(hosted.kang, 'settings', 'inSyncGraceMs', '5s');
  await hosted.cli(hosted.kang, 'gitlab', 'clear-flag');
  const hosts: string[] = [];
  try {
    for (let moves = 0; moves < failoversMost; moves++) {
      const host = lab.machine(await well(hosted));
      hosts.push(host.name);
      await cutAndMoved(hosted, host);
    }
    const host = lab.machine(await well(hosted));
    const other = lab.machines.find((machine) => machine !== host) as LabMachine;
    const { epoch } = await hosted.status(other);
    await unplug(lab, host);
    const flag = await until('it is flagged', async () => (await hosted.status(other)).flag, 60_000);
    await sleep(20_000);
    demand((await hosted.status(other)).epoch === epoch, 'it moved in spite of its flag');
    const { attention } = await other.status();
    const line = attention.find(({ code }) => code === 'gitlab-flag');
    demand(line?.fix === 'autogit-node gitlab clear-flag', `what is said of it: ${JSON.stringify(attention)}`);
    await hosted.done(other, 'gitlab', 'clear-flag');
    await until('it goes on once a person has looked', async () => (await hosted.status(other)).epoch > epoch, 90_000);
    await plug(lab, host);
    await runsOn(hosted, lab.machine(await well(hosted)));
    return `from ${hosts.join(', ')}; then none: "${flag}"; by clear-flag from ${host.name} too`;
  } finally {
    await hosted.cli(hosted.kang, 'settings', 'inSyncGraceMs', '45s');
  }
}

async function cutAndMoved(hosted: HostedLab, host: LabMachine): Promise<void> {
  const { lab } = hosted;
  const other = lab.machines.find((machine) => machine !== host) as LabMachine;
  const { epoch } = await hosted.status(other);
  await unplug(lab, host);
  await until('it goes on elsewhere', async () => (await hosted.status(other)).epoch > epoch, 90_000);
  await plug(lab, host);
}

/** What was restored is what goes on, and not what came after that round. */
async function olderRound(hosted: HostedLab): Promise<string> {
  const { lab } = hosted;
  await runsOn(hosted, lab.machine(await well(hosted)), lab.machine('desktop-2'));
  await hosted.gitlab.push('older', { 'readme.md': 'there since before that round' });
  await hosted.push('older');
  const { stdout } = await hosted.done(hosted.host, '--json', 'gitlab', 'history');
  const newest = (JSON.parse(stdout) as { id: string; kind: string }[]).find(({ kind }) => kind === 'round');
  demand(newest !== undefined, `gitlab history has no round: ${stdout.slice(0, 200)}`);
  const later = await hosted.push('older');
  demand(later.code === 0, 'the push that shall be undone was refused');
  await hosted.done(hosted.host, '--yes', 'gitlab', 'restore', newest?.id ?? '');
  await hosted.served();
  const seen = await lost(hosted, 'older', byPower(hosted));
  const { commits } = await hosted.whole();
  demand(![...commits].some((one) => one.endsWith(later.commit)), 'what came after the restored round is back');
  return `restored ${newest?.id}, then ${seen}`;
}

/** It takes two machines more. */
export const twoDieCase = 'two-die';

export const awayCases: readonly LabCase[] = [
  { name: 'power', what: "the host's power cut; it is back later", run: power },
  { name: 'pulled', what: "the host's cable out for longer than the grace", run: pulled },
  { name: 'suspended', what: 'the host stands still for longer than the grace, and goes on', run: suspended },
  { name: 'reboot', what: 'the host is back inside the grace', run: rebooted },
  { name: 'switch', what: 'nobody sees anybody for 40 s', run: switchAway },
  { name: 'two-lost', what: 'the host and another one of three without power', run: twoLost },
  { name: 'flag', what: 'the host is cut off again and again', run: flagged },
  { name: 'all-cut', what: 'power cut of all, the host back two minutes after the others', run: allCut },
  { name: twoDieCase, what: 'of five machines the host and one with copies at once', run: twoDie },
  { name: 'older-round', what: 'an older round restored, then the host dies', run: olderRound },
];
