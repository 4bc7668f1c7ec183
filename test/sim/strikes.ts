import type { PeerMessage } from '../../protocol/messages.ts';
import type { Chance } from './chance.ts';
import type { World } from './world.ts';

export type GitlabMood = 'ok' | '429' | '500' | 'away';

/** What a fault may do to the world (Jepsen's word); each undoes itself after so long, or at the healing. */
export interface Nemesis {
  undoAfter(ms: number, undo: () => void): void;
  cut(from: string, to: string, ms: number): void;
  slow(machine: string, delayMs: number, ms: number): void;
  slowDisk(machine: string, fsyncMs: number, ms: number): void;
  failDisk(machine: string, ms: number): void;
  cutGitlab(machine: string, ms: number): void;
  moodOfGitlab(mood: GitlabMood, ms: number): void;
}

/** The leader more often than any other: that is where it hurts. */
function victim(world: World, chance: Chance): string {
  const leader = world.leaderNow();
  return leader && chance.maybe(0.4) ? leader : chance.pick(world.machineIds());
}

function isolate(world: World, nemesis: Nemesis, one: string, ms: number): void {
  for (const other of world.machineIds())
    if (other !== one) {
      nemesis.cut(one, other, ms);
      nemesis.cut(other, one, ms);
    }
}

interface Apart {
  readonly host: string;
  readonly others: readonly string[];
  /** ms for which they do not hear each other. */
  readonly apartMs: number;
}

/** All but GitLab's host are off, and somebody lets that go on alone; null where nothing is to be seen of it. */
function letGoOnAlone(world: World, chance: Chance, moreMs = 0): Apart | null {
  const { configuration, gitlab, settings } = world.history.top?.ledger ?? {};
  const host = gitlab?.host ?? '';
  const inSync = gitlab?.hosted?.copies?.set.members.length ?? 0;
  const isWell = gitlab?.url != null && !gitlab.hosted?.move && !gitlab.hosted?.ending && inSync > 0;
  const votes = Object.keys(configuration?.voters ?? {});
  if (!isWell || world.sides.isAny || votes.length < 3 || !world.agentOf(host)?.isRunning) return null;
  const apartMs = (settings?.graceMs ?? 0) + chance.spread(15_000, 30_000) + moreMs;
  world.people.leavesGitlab(apartMs + 90_000);
  const others = world.machineIds().filter((one) => one !== host);
  for (const id of others) world.powerOff(id);
  for (const ms of [1000, 3000, 6000]) world.timeline.after(ms, () => world.people.recover(host));
  return { host, others, apartMs };
}

function comesBackApart(world: World, nemesis: Nemesis, id: string, { host, apartMs }: Apart): void {
  if (world.sides.isAny)
    for (const [from, to] of [
      [host, id],
      [id, host],
    ] as const)
      nemesis.cut(from, to, apartMs);
  world.bringBack(world.machine(id));
}

/** They have met, and nobody has looked yet: whoever served there goes off, and who serves here has only the ledger to go by. */
function forgetsReports(world: World, chance: Chance, nemesis: Nemesis, { host, apartMs }: Apart): void {
  world.timeline.after(7000 + apartMs + chance.spread(18_000, 22_000), () => {
    const serves = world.history.top?.ledger.gitlab.host ?? host;
    const there = world.machines().find(({ id, hosted }) => id !== serves && hosted.fenced.size > 0);
    if (there === undefined || world.faults.isHealed) return;
    world.powerOff(there.id);
    nemesis.undoAfter(10_000, () => world.bringBack(there));
    world.killAgent(serves);
    world.timeline.after(500, () => world.startAgent(serves));
  });
}

/** What no honest machine says: numbers near the end of all numbers, and a grant of one that does not lead. */
function lies(term: number, chance: Chance): PeerMessage {
  const far = chance.pick([2 ** 51, 2 ** 52 - 1, term + 2 ** 21]);
  const stamp = { term: far, version: 1 };
  const store = 'a-store';
  const because = 'it lies';
  return chance.pick<PeerMessage>([
    { kind: 'vote', term: far, stamp, handover: false },
    { kind: 'pre-vote-answer', term: far, granted: false, store, because },
    { kind: 'vote-answer', term: far, granted: false, store, because },
    { kind: 'append', term: far, round: 1, stamp, committed: stamp, ledger: null },
    { kind: 'ack', term: far, round: 1, stamp: null, store },
    ...[term, far].map(
      (its): PeerMessage => ({
        kind: 'grant',
        grant: `lie-${chance.below(1e9)}`,
        term: its,
        class: '',
        tags: [],
        runner: null,
        token: 'lie',
        ttlMs: 10_000,
        gpus: [],
        because,
      }),
    ),
  ]);
}

export const strikes: Record<string, (world: World, chance: Chance, nemesis: Nemesis) => void> = {
  'cut one way': (world, chance, nemesis) => {
    const [a, b] = chance.shuffle(world.machineIds());
    if (a && b) nemesis.cut(a, b, chance.spread(50, 6000));
  },
  isolate: (world, chance, nemesis) => {
    world.rare.partitioned();
    isolate(world, nemesis, victim(world, chance), chance.spread(80, 8000));
  },
  partition: (world, chance, nemesis) => {
    const mixed = chance.shuffle(world.machineIds());
    const split = 1 + chance.below(Math.max(1, mixed.length - 1));
    const ms = chance.spread(80, 8000);
    world.rare.partitioned();
    for (const a of mixed.slice(0, split))
      for (const b of mixed.slice(split)) {
        nemesis.cut(a, b, ms);
        nemesis.cut(b, a, ms);
      }
  },
  'slow line': (world, chance, nemesis) =>
    nemesis.slow(victim(world, chance), chance.spread(5, 400), chance.spread(200, 5000)),
  'reset streams': (world, chance) => {
    const one = victim(world, chance);
    for (const other of world.machineIds()) if (other !== one && chance.maybe(0.7)) world.network.reset(one, other);
  },
  'kill agent': (world, chance, nemesis) => {
    const one = victim(world, chance);
    world.killAgent(one);
    nemesis.undoAfter(chance.spread(20, 6000), () => world.startAgent(one));
  },
  'power off': (world, chance, nemesis) => {
    const one = victim(world, chance);
    world.powerOff(one);
    nemesis.undoAfter(chance.spread(300, 15_000), () => world.bringBack(world.machine(one)));
  },
  'lose disk': (world, chance, nemesis) => {
    const one = victim(world, chance);
    if (!world.canLoseDisk(one)) return world.figures.add('disk losses refused by the plan');
    world.powerOff(one);
    world.loseDisk(one);
    nemesis.undoAfter(chance.spread(100, 6000), () => world.bringBack(world.machine(one)));
  },
  'stop process': (world, chance, nemesis) => {
    const one = victim(world, chance);
    const agent = world.agentOf(one);
    if (!agent || agent.isStopped) return;
    agent.isStopped = true;
    const led = agent.state.raft.leading !== null;
    nemesis.undoAfter(chance.spread(50, 9000), () => {
      agent.isStopped = false;
      if (!agent.isAlive) return;
      if (led) world.rare.saw('leader stopped and continued');
      agent.resume();
    });
  },
  suspend: (world, chance, nemesis) => {
    const one = victim(world, chance);
    if (world.machine(one).power !== 'on') return;
    world.suspend(one);
    nemesis.undoAfter(chance.spread(100, 15_000), () => world.resume(one));
  },
  'busy loop': (world, chance) => world.agentOf(victim(world, chance))?.block(chance.spread(20, 1500)),
  'slow disk': (world, chance, nemesis) =>
    nemesis.slowDisk(victim(world, chance), chance.spread(5, 600), chance.spread(200, 5000)),
  'failing disk': (world, chance, nemesis) => nemesis.failDisk(victim(world, chance), chance.spread(100, 20_000)),
  'gitlab mood': (_world, chance, nemesis) =>
    nemesis.moodOfGitlab(chance.pick(['429', '500', 'away'] as const), chance.spread(200, 8000)),
  'cut from gitlab': (world, chance, nemesis) => nemesis.cutGitlab(victim(world, chance), chance.spread(200, 8000)),
  'leave politely': (world, chance, nemesis) => {
    const one = victim(world, chance);
    const agent = world.agentOf(one);
    if (!agent) return;
    agent.feed({ kind: 'leave-asked', ...(chance.maybe(0.7) ? { backMs: 60_000 } : {}) });
    nemesis.undoAfter(chance.spread(2000, 12_000), () => world.people.fetchBack(agent));
  },
  /** The machine goes to sleep or down, and comes back before its agent has ended: it takes its place again. */
  'leave and return': (world, chance, nemesis) => {
    const agent = world.agentOf(victim(world, chance));
    if (!agent) return;
    agent.feed({ kind: 'leave-asked' });
    nemesis.undoAfter(chance.spread(5, 4000), () => {
      if (agent.isAlive) {
        world.rare.saw('left and came back without a restart');
        agent.feed({ kind: 'return-asked' });
      } else world.startAgent(agent.machine.id);
    });
  },
  join: (world) => {
    const newcomer = world.waiting.shift();
    if (!newcomer) return;
    world.rare.saw('newcomer under fire');
    world.people.letIn(newcomer);
  },
  forget: (world, chance, nemesis) => {
    const one = victim(world, chance);
    if (world.machine(one).disk.isEmpty || !world.people.forget(one)) return;
    nemesis.undoAfter(chance.spread(1000, 12_000), () => world.people.takeBack(one));
  },
  'roll back disk': (world, chance, nemesis) => {
    const one = victim(world, chance);
    const { disk } = world.machine(one);
    if (disk.isEmpty) return;
    const before = disk.copy();
    // Now and then a snapshot is brought back twice.
    const times = chance.maybe(0.3) ? 2 : 1;
    for (let time = 1; time <= times; time += 1)
      world.timeline.after(time * chance.spread(200, 8000), () => {
        if (world.faults.isHealed) return;
        if (world.machine(one).disk !== disk || !world.canRollBack(one, before))
          return world.figures.add('rollbacks refused by the plan');
        if (disk.ids.size > 1) world.rare.saw('store renewed and rolled back again');
        world.powerOff(one);
        world.rollBack(one, before);
        nemesis.undoAfter(chance.spread(50, 3000), () => world.bringBack(world.machine(one)));
      });
  },
  /** So many machines die that no majority is left; somebody who sees that they are off lets one that is left go on. */
  'recover by force': (world, chance, nemesis) => {
    const voters = Object.keys(world.history.top?.configuration.voters ?? {});
    const [survivor, ...others] = chance.shuffle(voters.filter((id) => world.agentOf(id)?.isRunning));
    if (survivor === undefined) return;
    for (const id of others.slice(0, Math.max(1, others.length - chance.below(2)))) {
      world.powerOff(id);
      nemesis.undoAfter(chance.spread(4000, 15_000), () => {
        // Back where nobody hears it, it may lead its former era alone, and speak to the same GitLab.
        if (chance.maybe(0.5)) isolate(world, nemesis, id, chance.spread(3000, 30_000));
        world.bringBack(world.machine(id));
      });
    }
    for (const ms of [500, 2000, 4000]) world.timeline.after(ms, () => world.people.recover(survivor));
  },
  /**
   * GitLab's host is let go on alone, as all others are off; and they come back where it does not hear them, lead their former era and
   * let another machine serve. Then all meet.
   */
  'two sides': (world, chance, nemesis) => {
    const stage = letGoOnAlone(world, chance);
    if (stage === null) return;
    for (const id of stage.others) nemesis.undoAfter(7000, () => comesBackApart(world, nemesis, id, stage));
    forgetsReports(world, chance, nemesis, stage);
  },
  /** The same, but of the others one comes back, hears nobody, and somebody lets that one go on alone too, with GitLab; the rest come when both have met. */
  'recovered on both sides': (world, chance, nemesis) => {
    // Mostly the side that does not go on in the end: the higher name's does.
    const [other] = [...(world.history.top?.ledger.gitlab.hosted?.copies?.set.members ?? [])].sort();
    const stage = letGoOnAlone(world, chance, 25_000);
    if (stage === null || other === undefined) return;
    for (const id of stage.others) {
      if (id === other) nemesis.undoAfter(7000, () => comesBackApart(world, nemesis, id, stage));
      else nemesis.undoAfter(30_000 + stage.apartMs, () => world.bringBack(world.machine(id)));
    }
    const at = 7000 + chance.spread(8000, 12_000);
    for (const ms of [at, at + 3000]) world.timeline.after(ms, () => world.people.recover(other, { isMistaken: true }));
    for (const ms of [at + 4000, at + 8000]) world.timeline.after(ms, () => world.people.startsGitlabAt(other));
    forgetsReports(world, chance, nemesis, stage);
  },
  /** One member is in bad hands for a moment (SAFETY L17). */
  'rogue member': (world, chance) => {
    const agent = world.agentOf(chance.pick(world.machineIds()));
    if (!agent?.isRunning || agent.state.raft.leading !== null) return;
    const { term, accepted } = agent.state.raft;
    for (const other of world.machineIds())
      if (other !== agent.machine.id) world.network.send(agent, other, lies(term, chance), accepted.era);
  },
  'change settings': (world) => world.people.changeSomething(),
};
