import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Effect, EffectOf } from '../../scheduler/effects.ts';
import type { Happened, Input } from '../../scheduler/inputs.ts';
import { type CoreState, restoredState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import { FrameMaker } from './frame.ts';
import type { Doc } from './history.ts';
import { HostShell } from './host-shell.ts';
import type { Machine } from './machine.ts';
import { PersistTwin } from './persist-twin.ts';
import { RunKeeper } from './run-keeper.ts';
import type { World } from './world.ts';

/**
 * One life of the agent program on a machine: the real core, and around it the shell's duties as node/agent does them.
 * It handles one thing at a time; while it is stopped, asleep or busy, things queue up and are handled later, with the
 * time of then.
 */
export class Agent {
  /** "n1#3": which process said something. */
  readonly life: string;
  readonly machine: Machine;
  readonly boot: string;
  state: CoreState;
  isAlive = true;
  /** SIGSTOP: the kernel answers for it, it does nothing. */
  isStopped = false;
  isDeparted = false;
  isStoreFailing = false;
  /** Newest ledger that the core proposed or accepted in this life. */
  doc: Doc | null = null;
  /** Newest committed ledger that was published: who may connect. */
  ledger: Ledger | null;
  /** Who may connect, and by which ledger. */
  linked: ReadonlySet<string> = new Set();
  linkedFor: Ledger | null = null;
  readonly runs: RunKeeper;
  readonly host: HostShell;
  readonly frames = new FrameMaker();
  readonly #world: World;
  readonly #persist: PersistTwin;
  readonly #inbox: (() => void)[] = [];
  #busyUntil = 0;
  #timer = 0;
  #isDraining = false;

  constructor(world: World, machine: Machine, number: number) {
    this.#world = world;
    this.#lateness = world.chance.next();
    this.machine = machine;
    this.boot = machine.boot;
    this.life = `${machine.id}#${number}`;
    const durable = machine.disk.load();
    this.ledger = durable.committed;
    if (durable.accepted) this.doc = world.history.find(durable.accepted) ?? null;
    const identity = {
      node: machine.id,
      name: machine.name,
      store: machine.disk.store,
      boot: machine.boot,
      startedAtWallMs: machine.wallMs(),
      seed: world.chance.below(2 ** 31),
      version: '0.1.0',
    };
    this.state = restoredState(identity, durable, machine.bootMs());
    this.#persist = new PersistTwin(world, this, (effect) => {
      this.#perform(effect.then);
      this.#step({ kind: 'persisted', part: effect.part, seq: effect.seq });
    });
    this.runs = new RunKeeper(world, this);
    this.host = new HostShell(world, this);
    this.later(() => this.#begin());
  }

  get isRunning(): boolean {
    return this.isAlive && !this.isStopped && this.machine.power === 'on';
  }

  #begin(): void {
    this.#step({ kind: 'ticked' });
    this.runs.adopt();
    this.host.tend();
    const measure = (): void => {
      const addresses = [`/ip4/10.0.0.${this.machine.id.slice(1)}/tcp/7117`];
      const measured = this.machine.measure(!this.isStoreFailing);
      this.later(() => this.#step({ kind: 'measured', measured, addresses, version: '0.1.0' }));
      if (this.isAlive) this.#world.timeline.after(2000, measure);
    };
    measure();
  }

  /** The shell tells the core what happened. */
  feed(happened: Happened): void {
    if (!this.#isIdle()) return this.later(() => this.#step(happened));
    this.#isDraining = true;
    this.#step(happened);
    this.#isDraining = false;
    if (this.#inbox.length > 0) this.#drain();
  }

  /** Nothing waits before what comes now. */
  #isIdle(): boolean {
    return this.#inbox.length === 0 && !this.#isDraining && this.isRunning && this.#busyUntil <= this.#world.now;
  }

  /** Something for the event loop: now if it is free, else in its turn. */
  later(what: () => void): void {
    if (!this.isAlive) return;
    this.#inbox.push(what);
    this.#drain();
  }

  get isBlocked(): boolean {
    return this.#busyUntil > this.#world.now;
  }

  /** The event loop is blocked for so long. */
  block(ms: number): void {
    this.#busyUntil = Math.max(this.#busyUntil, this.#world.now + ms);
  }

  /** After SIGCONT or resume: everything that came meanwhile is handled; timers and sockets in any order. */
  resume(): void {
    const mixed = this.#world.chance.maybe(0.5);
    if (mixed) this.#inbox.unshift(() => this.#tick());
    this.#drain();
    this.#schedule(this.#wakeAt);
  }

  die(): void {
    this.isAlive = false;
    this.#inbox.length = 0;
    this.#timer += 1;
    this.#persist.crash();
    this.runs.stop();
  }

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    while (this.#inbox.length > 0 && this.isRunning) {
      const wait = this.#busyUntil - this.#world.now;
      if (wait > 0) {
        this.#world.timeline.after(wait, () => this.#drain());
        break;
      }
      this.#inbox.shift()!();
    }
    this.#isDraining = false;
  }

  #wakeAt = Number.POSITIVE_INFINITY;
  /** When the timer that is set goes off, by the world's clock; Infinity when none is. */
  #timerAt = Number.POSITIVE_INFINITY;
  /** How late the next timer will be, ms. */
  #lateness: number;

  #tick(): void {
    if (this.machine.bootMs() >= this.#wakeAt) this.#step({ kind: 'ticked' });
  }

  /** A timer never fires early, nor twice in one ms. One that is set for earlier goes off in vain, and sets the next. */
  #schedule(wakeAt: number): void {
    this.#wakeAt = wakeAt;
    if (wakeAt === Number.POSITIVE_INFINITY) return;
    const at = this.#world.now + Math.max(1, this.machine.untilBootMs(wakeAt)) + this.#lateness;
    if (at >= this.#timerAt) return;
    this.#timerAt = at;
    const timer = ++this.#timer;
    this.#world.timeline.at(at, () => {
      if (timer !== this.#timer) return;
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#lateness = this.#world.chance.next();
      if (this.machine.bootMs() < this.#wakeAt) return this.#schedule(this.#wakeAt);
      if (this.#isIdle()) return this.feed({ kind: 'ticked' });
      this.later(() => this.#tick());
    });
  }
  #step(happened: Happened): void {
    if (!this.isAlive) return;
    const input: Input = { ...happened, at: this.machine.bootMs(), wallMs: this.machine.wallMs() };
    const before = this.state;
    const { state, effects, wakeAt } = step(before, input);
    this.state = state;
    this.#world.checks.stepped(this, before, input, effects);
    this.#world.leases.stepped(this, before, input, effects);
    this.#world.transcript.tell(this.life, happened.kind, () => lineOf(happened, effects));
    this.#perform(effects);
    if (this.isAlive) this.#schedule(wakeAt);
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) if (this.isAlive) this.#performOne(effect);
  }

  #performOne(effect: Effect): void {
    const world = this.#world;
    world.checks.performs(this, effect);
    world.options.stage?.hear(this, effect);
    switch (effect.kind) {
      case 'persist':
        return this.#persist.add(effect);
      case 'send':
        return world.network.send(this, effect.to, effect.message, effect.era ?? null);
      case 'gossip':
        return world.network.gossip(this, effect.report);
      case 'probe':
        return world.network.probe(this, effect.node);
      case 'answer':
        return world.people.answered(effect.id, effect.outcome);
      case 'publish-ledger':
        this.ledger = effect.ledger;
        return this.host.tend();
      case 'cut-link':
        return world.network.reset(this.machine.id, effect.node);
      case 'mint-store':
        return this.later(() => this.#step({ kind: 'store-minted', store: world.newStoreId() }));
      case 'departed':
        this.isDeparted = true;
        return world.people.departed(this);
      case 'note':
        world.transcript.say(this.life, `${effect.event}: ${effect.because}`);
        world.rare.noted(effect, this);
        return world.figures.add(`note ${effect.event}`);
      case 'take-job':
        return this.runs.take(effect);
      case 'hold-lease':
        return this.host.hold(effect);
      case 'end-lease':
        return this.host.end(effect);
      case 'find-round':
        return this.host.rounds.find(effect);
      case 'hint-run':
        return;
      case 'drop-run':
        return this.runs.drop(effect.run, effect.because);
      default:
        return world.gitlabEffects.perform(this, effect);
    }
  }
}

function lineOf(happened: Happened, effects: readonly Effect[]): string {
  const what =
    happened.kind === 'heard'
      ? `heard ${happened.message.kind} from ${happened.from}`
      : happened.kind === 'report-heard'
        ? `heard a report from ${happened.from}`
        : happened.kind === 'probed'
          ? `probed ${happened.node}: ${happened.result}`
          : happened.kind === 'persisted'
            ? `persisted ${happened.part} ${happened.seq}`
            : happened.kind;
  return effects.length === 0 ? what : `${what} -> ${effects.map(nameOf).join(' ')}`;
}

function nameOf(effect: Effect): string {
  switch (effect.kind) {
    case 'persist':
      return `persist ${effect.part} ${effect.seq}(${effect.writes.map(writeName).join(',')})[${effect.then.map(nameOf).join(' ')}]`;
    case 'send':
      return `${messageName(effect)}>${effect.to}`;
    case 'probe':
      return `probe>${effect.node}`;
    case 'take-job':
      return `take-job(${effect.grant})`;
    case 'fail-run':
      return `fail-run(${effect.run.run})`;
    case 'rescue-job':
      return `rescue-job(${effect.job})`;
    case 'drop-run':
      return `drop-run(${effect.run})`;
    case 'note':
      return '';
    default:
      return effect.kind;
  }
}

function writeName(write: EffectOf<'persist'>['writes'][number]): string {
  if (write.key === 'promise') return `promise ${write.value.term} ${write.value.votedFor ?? '-'}`;
  if (write.key === 'asking') return `asking ${write.value.length}`;
  if (write.key === 'store') return `store ${write.value}`;
  return `${write.key} ${write.value ? `${write.value.stamp.term}.${write.value.stamp.version}` : '-'}`;
}

function messageName({ message }: EffectOf<'send'>): string {
  const show = (stamp: { term: number; version: number } | null): string =>
    stamp ? `${stamp.term}.${stamp.version}` : '-';
  switch (message.kind) {
    case 'append':
      return `append(${message.term} ${show(message.stamp)} c${show(message.committed)}${message.ledger ? ' +' : ''})`;
    case 'ack':
      return `ack(${message.term} ${show(message.stamp)})`;
    case 'vote':
    case 'pre-vote':
      return `${message.kind}(${message.term} ${show(message.stamp)})`;
    case 'vote-answer':
    case 'pre-vote-answer':
      return `${message.kind}(${message.term} ${message.granted ? 'yes' : `no: ${message.because}`})`;
    case 'grant':
      return `grant(${message.grant})`;
    case 'grant-answer':
      return `grant-answer(${message.grant} ${message.outcome})`;
    default:
      return message.kind;
  }
}

/** The one error that bad bytes may raise. */
export const isRefusedFrame = (error: unknown): boolean =>
  error instanceof AutogitError && (error.code === 'bad-message' || error.code === 'frame-too-large');
