import type { Chance } from './chance.ts';
import { type GitlabMood, type Nemesis, strikes } from './strikes.ts';
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

/** What is broken right now, and the plan that breaks it. Drawn from the seed; `heal` ends all of it. */
export class Faults {
  isHealed = false;
  gitlab: GitlabMood = 'ok';
  mood: Mood;
  readonly #world: World;
  readonly #chance: Chance;
  readonly #cuts = new Map<string, number>();
  readonly #slow = new Map<string, number>();
  readonly #slowDisk = new Map<string, number>();
  readonly #failingDisk = new Set<string>();
  readonly #gitlabCuts = new Set<string>();
  readonly #undo = new Set<() => void>();
  #restsUntil = 0;

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance.fork();
    this.mood = drawMood(this.#chance, world.isStorm);
    if (world.options.kinds) this.mood.kinds = world.options.kinds;
  }

  /** Another bout, as rough as chance will have it. */
  again(untilMs: number): void {
    this.mood = drawMood(this.#chance, this.#world.isStorm);
    if (this.#world.options.kinds) this.mood.kinds = this.#world.options.kinds;
    this.begin(untilMs);
  }

  begin(untilMs: number): void {
    this.isHealed = false;
    const next = (): void => {
      const wait = -Math.log(1 - this.#chance.next()) * this.mood.meanGapMs;
      if (this.#world.now + wait > untilMs) return;
      this.#world.timeline.after(wait, () => {
        if (this.isHealed) return;
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
      this.#world.rare.saw('fault in a joint configuration');
      this.#strike();
    });
  }

  /** Nothing else breaks for so long, ms: a leader is to lead for longer than a bout lets anybody. */
  rest(ms: number): void {
    this.#restsUntil = this.#world.now + ms;
  }

  heal(): void {
    this.isHealed = true;
    for (const undo of [...this.#undo]) undo();
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
    const once = (): void => {
      if (this.#undo.delete(once)) undo();
    };
    this.#undo.add(once);
    this.#world.timeline.after(ms / this.mood.hurry, once);
  }

  // --- what is asked of it

  /** Something is cut, or was hurt and is not mended yet. */
  get isBusy(): boolean {
    return !this.isHealed && this.#undo.size > 0;
  }

  get isAnythingCut(): boolean {
    return [...this.#cuts.values()].some((count) => count > 0);
  }

  isCut = (from: string, to: string): boolean => this.#cuts.size > 0 && (this.#cuts.get(`${from}>${to}`) ?? 0) > 0;
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
    if (this.#world.now < this.#restsUntil) return;
    const kind = this.#chance.pick(this.mood.kinds);
    this.#world.figures.add(`fault ${kind}`);
    this.#world.transcript.say('fault', kind);
    strikes[kind]!(this.#world, this.#chance, this.nemesis);
  }

  /** What breaks things, each for so many ms. */
  readonly nemesis: Nemesis = {
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
  'leave and return',
  'join',
  'forget',
  'roll back disk',
];

function drawMood(chance: Chance, isStorm: boolean): Mood {
  // Not every world: those who are left go on alone in it, again and again.
  const all = Object.keys(strikes).filter(
    (kind) => !['recover by force', 'two sides', 'recovered on both sides', 'rogue member'].includes(kind),
  );
  const kinds = all.filter(() => chance.maybe(0.6));
  const rough = isStorm || chance.maybe(0.4);
  if (isStorm) kinds.splice(0, kinds.length, ...ofElections.filter(() => chance.maybe(0.7)));
  if (chance.maybe(0.1)) kinds.push('recover by force');
  // Voters come and go under fire in most worlds.
  if (chance.maybe(0.5)) kinds.push(chance.pick(['leave politely', 'leave and return', 'forget', 'lose disk']));
  const mood = {
    loss: chance.pick([0, 0.001, 0.01, 0.05]),
    reorder: rough ? chance.pick([0.005, 0.05]) : 0,
    duplicate: rough ? chance.pick([0.002, 0.02]) : 0,
    corrupt: chance.pick([0, 0, 0.0005]),
    holdsFrames: chance.maybe(0.5),
    meanGapMs: isStorm ? chance.spread(50, 400) : chance.spread(250, 2500),
    hurry: isStorm ? chance.spread(2, 12) : 1,
    kinds: kinds.length > 0 ? kinds : all,
  };
  // In some worlds one member lies; drawn without a draw, so that all others stay as they were.
  if (Math.floor(mood.meanGapMs * 1000) % 8 === 0) mood.kinds = [...mood.kinds, 'rogue member'];
  return mood;
}
