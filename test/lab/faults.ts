import { namespacesNamed } from '../e2e/namespaces.ts';
import { sleep, until } from '../e2e/rig.ts';
import { type Lab, settled } from './lab.ts';
import { LabRefusal } from './lab-file.ts';
import type { LabMachine } from './lab-machine.ts';
import { continueAll, stopAll } from './machine-processes.ts';

/** Who leads, asked of whoever can answer; null when nobody knows. The word with the highest term counts. */
export async function leaderOf(machines: readonly LabMachine[]): Promise<{ node: string; term: number } | null> {
  const told = await Promise.allSettled(machines.map((machine) => machine.status(3000)));
  const leaders = told.flatMap((one) => (one.status === 'fulfilled' && one.value.leader ? [one.value.leader] : []));
  return leaders.sort((a, b) => b.term - a.term)[0] ?? null;
}

interface Elected {
  time: number;
  leader: string;
}

const electedSince = (machines: readonly LabMachine[], since: number): Elected | null =>
  machines
    .flatMap((machine) => machine.agent.events('leader-elected') as unknown as Elected[])
    .filter(({ time }) => time >= since)
    .sort((a, b) => a.time - b.time)[0] ?? null;

/** ms after which a leader that lost its majority has noticed, mostly. */
const settleMs = 1500;

/**
 * Does something to one machine and says what followed: when it led, who leads then and after how many ms, by the
 * agents' own logs (their clock is this computer's). Waits at most 30 s: with two machines nobody may follow.
 */
async function hurt(lab: Lab, machine: LabMachine, what: string, how: () => Promise<void> | void): Promise<string> {
  const before = await leaderOf(lab.awake());
  const others = lab.awake().filter((other) => other !== machine && !lab.file.unplugged.includes(other.name));
  const since = Date.now();
  await how();
  lab.save();
  if (before?.node !== machine.name) {
    await sleep(settleMs);
    const after = await leaderOf(lab.awake());
    const same = after !== null && after.node === before?.node;
    return `${what}; ${after === null ? 'nobody leads' : `${after.node} ${same ? 'still leads' : 'leads'}`}`;
  }
  const next = await until('another leader', () => electedSince(others, since), 30_000).catch(() => null);
  if (next === null) return `${what}; it led, and within 30 s nobody else does (npm run lab -- status says why)`;
  return `${what}; ${next.leader} leads after ${next.time - since} ms`;
}

/**
 * Ends something that was done to a machine, and says who leads when all that nothing is done to know the same leader.
 * Waits at most 60 s: other faults may be in force.
 */
async function mend(lab: Lab, machine: LabMachine, what: string): Promise<string> {
  const hurt = new Set([...lab.file.unplugged, ...lab.file.blocked.map(({ to }) => to)]);
  const well = lab.awake().filter(({ name }) => !hurt.has(name));
  if (!well.includes(machine)) return what;
  const leader = await settled(well, 1, 60_000).catch(() => null);
  return `${what}; ${leader === null ? 'the machines agree on no leader yet (npm run lab -- status)' : `${leader} leads`}`;
}

const without = (names: readonly string[], name: string): string[] => names.filter((other) => other !== name);

/** Off the network first: a machine without power closes no connection, and its kernel refuses none. */
export async function cutPower(lab: Lab, machine: LabMachine): Promise<void> {
  const number = lab.number(machine);
  if (namespacesNamed(machine.namespace).length === 0) return;
  lab.lan.unplug(number);
  await machine.killMachine();
  lab.lan.remove(number);
  lab.file.suspended = without(lab.file.suspended, machine.name);
}

/** What dies: the agent, its Docker Engine, or all of the machine. */
export type Victim = 'agent' | 'engine' | 'machine';

export async function kill(lab: Lab, machine: LabMachine, what: Victim): Promise<string> {
  if (what === 'machine') {
    return hurt(lab, machine, `${machine.name} killed, with its engine and all in it`, () => cutPower(lab, machine));
  }
  if (what === 'engine')
    return hurt(lab, machine, `the Docker Engine of ${machine.name} killed (its agent and all containers go on)`, () =>
      machine.killEngine(),
    );
  if (machine.agents().length === 0) throw new LabRefusal(`${machine.name} has no agent running`);
  return hurt(lab, machine, `${machine.name} killed (the agent; its engine and containers go on)`, () =>
    machine.killAgent(),
  );
}

export async function start(lab: Lab, machine: LabMachine): Promise<string> {
  if (lab.isSuspended(machine)) throw new LabRefusal(`${machine.name} is suspended: npm run lab -- resume`);
  if (namespacesNamed(machine.namespace).length === 0)
    return boot(lab, machine, `${machine.name} booted with its disk and a new boot id`);
  await lab.start(machine);
  return mend(lab, machine, `${machine.name} started`);
}

export async function reboot(lab: Lab, machine: LabMachine): Promise<string> {
  const down = await hurt(lab, machine, `${machine.name} went down`, () => cutPower(lab, machine));
  return boot(lab, machine, `${down}; ${machine.name} is back with its disk and a new boot id`);
}

/** A machine that has no power gets it: new interfaces, a new boot id, the same disk, the faults of its network. */
async function boot(lab: Lab, machine: LabMachine, what: string): Promise<string> {
  lab.newBoot(machine);
  lab.lan.add(lab.number(machine));
  lab.restoreFaults(machine);
  await lab.start(machine);
  return mend(lab, machine, what);
}

export function unplug(lab: Lab, machine: LabMachine): Promise<string> {
  return hurt(lab, machine, `${machine.name} unplugged`, () => {
    lab.lan.unplug(lab.number(machine));
    lab.file.unplugged = [...without(lab.file.unplugged, machine.name), machine.name];
  });
}

export async function plug(lab: Lab, machine: LabMachine): Promise<string> {
  lab.lan.plug(lab.number(machine));
  lab.file.unplugged = without(lab.file.unplugged, machine.name);
  lab.save();
  return mend(lab, machine, `${machine.name} plugged in`);
}

export function partition(lab: Lab, from: LabMachine, to: LabMachine, isOneWay: boolean): string {
  if (from === to) throw new LabRefusal('a partition is between two machines: npm run lab -- partition kang desktop-1');
  const ways = isOneWay ? [[from, to] as const] : [[from, to] as const, [to, from] as const];
  for (const [source, target] of ways) {
    lab.lan.block(lab.number(source), lab.number(target));
    const is = (way: { from: string; to: string }) => way.from === source.name && way.to === target.name;
    if (!lab.file.blocked.some(is)) lab.file.blocked.push({ from: source.name, to: target.name });
  }
  lab.save();
  return isOneWay
    ? `${to.name} hears nothing of ${from.name}; the other way is open`
    : `${from.name} and ${to.name} hear nothing of each other; all others hear both`;
}

/** Ends all faults of the network. */
export async function heal(lab: Lab): Promise<string> {
  const count = lab.file.blocked.length + lab.file.unplugged.length;
  for (const { from, to } of lab.file.blocked)
    lab.lan.unblock(lab.number(lab.machine(from)), lab.number(lab.machine(to)));
  for (const name of lab.file.unplugged) lab.lan.plug(lab.number(lab.machine(name)));
  lab.file.blocked = [];
  lab.file.unplugged = [];
  lab.save();
  const what = count === 0 ? 'nothing to heal' : `${count} fault${count === 1 ? '' : 's'} of the network healed`;
  const [first] = lab.awake();
  return first ? mend(lab, first, what) : `${what}; no agent runs`;
}

export function suspend(lab: Lab, machine: LabMachine): Promise<string> {
  let count = 0;
  return hurt(lab, machine, `${machine.name} suspended`, async () => {
    lab.file.suspended = [...without(lab.file.suspended, machine.name), machine.name];
    lab.save();
    count = await stopAll(machine.namespace);
  }).then((line) => line.replace('suspended', `suspended (${count} processes stand still)`));
}

export async function resume(lab: Lab, machine: LabMachine): Promise<string> {
  if (!lab.isSuspended(machine)) throw new LabRefusal(`${machine.name} is not suspended`);
  const count = await continueAll(machine.namespace);
  lab.file.suspended = without(lab.file.suspended, machine.name);
  lab.save();
  return mend(lab, machine, `${machine.name} resumed (${count} processes)`);
}
