import type { Chance } from './chance.ts';
import type { World } from './world.ts';

/** How rough a seed is: drawn once, so that seeds differ in kind and not only in luck. */
interface Mood {
  loss: number;
  reorder: number;
  duplicate: number;
  corrupt: number;
  holdsFrames: boolean;
  meanGapMs: number;
  kinds: string[];
  /** Faults last so many times shorter. */
  hurry: number;
}

type GitlabMood = 'ok' | '429' | '500' | 'away';

/** What is broken right now, and the plan that breaks it. Drawn from the seed; `heal` ends all of it. */
export class Faults {
  isHealed = false;
  gitlab: GitlabMood = 'ok';
  readonly mood: Mood;
  readonly #world: World;
  readonly #chance: Chance;
  readonly #cuts = new Map<string, number>();
  readonly #slow = new Map<string, number>();
  readonly #slowDisk = new Map<string, number>();
  readonly #failingDisk = new Set<string>();
  readonly #gitlabCuts = new Set<string>();
  readonly #undo: (() => void)[] = [];

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance.fork();
    this.mood = drawMood(this.#chance, world.isStorm);
    if (world.options.kinds) this.mood.kinds = world.options.kinds;
  }

  begin(untilMs: number): void {
    const next = (): void => {
      const wait = -Math.log(1 - this.#chance.next()) * this.mood.meanGapMs;
      if (this.#world.now + wait > untilMs) return;
      this.#world.timeline.after(wait, () => {
        this.#strike();
        next();
      });
    };
    next();
  }

  /** Somebody changes the voters: the rare moment that is worth a fault. */
  tempt(): void {
    if (this.isHealed || !this.#chance.maybe(0.35)) return;
    this.#world.timeline.after(this.#chance.spread(0.2, 40), () => {
      if (this.isHealed) return;
      this.#world.figures.add('faults in joint');
      this.#strike();
    });
  }

  heal(): void {
    this.isHealed = true;
    for (const undo of this.#undo.splice(0)) undo();
    this.#cuts.clear();
    this.#slow.clear();
    this.#slowDisk.clear();
    this.#failingDisk.clear();
    this.#gitlabCuts.clear();
    this.gitlab = 'ok';
    this.#world.network.healed();
    for (const machine of this.#world.machines()) this.#world.bringBack(machine);
  }

  /** Undone once: by itself after so long, or by the healing. */
  #for(ms: number, undo: () => void): void {
    let isDone = false;
    const once = (): void => {
      if (!isDone) undo();
      isDone = true;
    };
    this.#undo.push(once);
    this.#world.timeline.after(ms / this.mood.hurry, once);
  }

  // --- what is asked of it

  isCut = (from: string, to: string): boolean => (this.#cuts.get(`${from}>${to}`) ?? 0) > 0;
  extraDelayMs = (from: string, to: string): number =>
    (this.#slow.get(from) ?? 0) * this.#chance.next() + (this.#slow.get(to) ?? 0) * this.#chance.next();
  get holdsFrames(): boolean {
    return this.mood.holdsFrames;
  }
  loses = (_from: string, _to: string): boolean => !this.isHealed && this.#chance.maybe(this.mood.loss);
  reorders = (): boolean => !this.isHealed && this.#chance.maybe(this.mood.reorder);
  duplicates = (): boolean => !this.isHealed && this.#chance.maybe(this.mood.duplicate);
  corrupts = (): boolean => !this.isHealed && this.#chance.maybe(this.mood.corrupt);
  fsyncMs = (machine: string): number =>
    this.#chance.maybe(0.02)
      ? this.#chance.spread(2, 60)
      : this.#chance.spread(0.2, 4) + (this.#slowDisk.get(machine) ?? 0);
  isDiskFailing = (machine: string): boolean => this.#failingDisk.has(machine);
  isGitlabCut = (machine: string): boolean => this.#gitlabCuts.has(machine);
  gitlabDelayMs = (): number => (this.#chance.maybe(0.05) ? this.#chance.spread(10, 1500) : 0);
  losesGitlabAnswer = (): boolean => !this.isHealed && this.#chance.maybe(0.02);

  // --- what goes wrong

  #strike(): void {
    const kind = this.#chance.pick(this.mood.kinds);
    this.#world.figures.add(`fault ${kind}`);
    this.#world.transcript.say('fault', kind);
    strikes[kind]!(this.#world, this.#chance, this.hands);
  }

  /** What breaks things, each for so many ms. */
  readonly hands: Hands = {
    undoAfter: (ms, undo) => this.#for(ms, undo),
    cut: (from, to, ms) => {
      const way = `${from}>${to}`;
      this.#cuts.set(way, (this.#cuts.get(way) ?? 0) + 1);
      this.#for(ms, () => {
        this.#cuts.set(way, Math.max(0, (this.#cuts.get(way) ?? 0) - 1));
        this.#world.network.healed();
      });
    },
    slow: (machine, delayMs, ms) => {
      this.#slow.set(machine, delayMs);
      this.#for(ms, () => this.#slow.delete(machine));
    },
    slowDisk: (machine, fsyncMs, ms) => {
      this.#slowDisk.set(machine, fsyncMs);
      this.#for(ms, () => this.#slowDisk.delete(machine));
    },
    failDisk: (machine, ms) => {
      this.#failingDisk.add(machine);
      this.#for(ms, () => this.#failingDisk.delete(machine));
    },
    cutGitlab: (machine, ms) => {
      this.#gitlabCuts.add(machine);
      this.#for(ms, () => this.#gitlabCuts.delete(machine));
    },
    moodOfGitlab: (mood, ms) => {
      this.gitlab = mood;
      this.#for(ms, () => {
        this.gitlab = 'ok';
      });
    },
  };
}

interface Hands {
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

const strikes: Record<string, (world: World, chance: Chance, hands: Hands) => void> = {
  'cut one way': (world, chance, hands) => {
    const [a, b] = chance.shuffle(world.machineIds());
    if (a && b) hands.cut(a, b, chance.spread(50, 6000));
  },
  isolate: (world, chance, hands) => {
    const one = victim(world, chance);
    const ms = chance.spread(80, 8000);
    for (const other of world.machineIds())
      if (other !== one) {
        hands.cut(one, other, ms);
        hands.cut(other, one, ms);
      }
  },
  partition: (world, chance, hands) => {
    const mixed = chance.shuffle(world.machineIds());
    const split = 1 + chance.below(Math.max(1, mixed.length - 1));
    const ms = chance.spread(80, 8000);
    for (const a of mixed.slice(0, split))
      for (const b of mixed.slice(split)) {
        hands.cut(a, b, ms);
        hands.cut(b, a, ms);
      }
  },
  'slow line': (world, chance, hands) =>
    hands.slow(victim(world, chance), chance.spread(5, 400), chance.spread(200, 5000)),
  'reset streams': (world, chance) => {
    const one = victim(world, chance);
    for (const other of world.machineIds()) if (other !== one && chance.maybe(0.7)) world.network.reset(one, other);
  },
  'kill agent': (world, chance, hands) => {
    const one = victim(world, chance);
    world.killAgent(one);
    hands.undoAfter(chance.spread(20, 6000), () => world.startAgent(one));
  },
  'power off': (world, chance, hands) => {
    const one = victim(world, chance);
    world.powerOff(one);
    hands.undoAfter(chance.spread(300, 15_000), () => world.bringBack(world.machine(one)));
  },
  'lose disk': (world, chance, hands) => {
    const one = victim(world, chance);
    if (!world.canLoseDisk(one)) return world.figures.add('disk losses refused by the plan');
    world.powerOff(one);
    world.loseDisk(one);
    hands.undoAfter(chance.spread(100, 6000), () => world.bringBack(world.machine(one)));
  },
  'stop process': (world, chance, hands) => {
    const one = victim(world, chance);
    const agent = world.agentOf(one);
    if (!agent || agent.isStopped) return;
    agent.isStopped = true;
    hands.undoAfter(chance.spread(50, 9000), () => {
      agent.isStopped = false;
      if (agent.isAlive) agent.resume();
    });
  },
  suspend: (world, chance, hands) => {
    const one = victim(world, chance);
    if (world.machine(one).power !== 'on') return;
    world.suspend(one);
    hands.undoAfter(chance.spread(100, 15_000), () => world.resume(one));
  },
  'busy loop': (world, chance) => world.agentOf(victim(world, chance))?.block(chance.spread(20, 1500)),
  'slow disk': (world, chance, hands) =>
    hands.slowDisk(victim(world, chance), chance.spread(5, 600), chance.spread(200, 5000)),
  'failing disk': (world, chance, hands) => hands.failDisk(victim(world, chance), chance.spread(100, 5000)),
  'gitlab mood': (_world, chance, hands) =>
    hands.moodOfGitlab(chance.pick(['429', '500', 'away'] as const), chance.spread(200, 8000)),
  'cut from gitlab': (world, chance, hands) => hands.cutGitlab(victim(world, chance), chance.spread(200, 8000)),
  'leave politely': (world, chance, hands) => {
    const one = victim(world, chance);
    const agent = world.agentOf(one);
    if (!agent) return;
    agent.feed({ kind: 'leave-asked' });
    hands.undoAfter(chance.spread(2000, 12_000), () => world.people.fetchBack(agent));
  },
  'change settings': (world) => world.people.changeSomething(),
};

const ofElections = [
  'cut one way',
  'isolate',
  'partition',
  'slow line',
  'reset streams',
  'kill agent',
  'stop process',
  'slow disk',
  'busy loop',
  'lose disk',
  'leave politely',
];

function drawMood(chance: Chance, isStorm: boolean): Mood {
  const all = Object.keys(strikes);
  const kinds = all.filter(() => chance.maybe(0.6));
  const rough = isStorm || chance.maybe(0.4);
  if (isStorm) kinds.splice(0, kinds.length, ...ofElections.filter(() => chance.maybe(0.7)));
  return {
    loss: chance.pick([0, 0.001, 0.01, 0.05]),
    reorder: rough ? chance.pick([0.005, 0.05]) : 0,
    duplicate: rough ? chance.pick([0.002, 0.02]) : 0,
    corrupt: chance.pick([0, 0, 0.0005]),
    holdsFrames: chance.maybe(0.5),
    meanGapMs: isStorm ? chance.spread(50, 400) : chance.spread(250, 2500),
    hurry: isStorm ? chance.spread(2, 12) : 1,
    kinds: kinds.length > 0 ? kinds : all,
  };
}
