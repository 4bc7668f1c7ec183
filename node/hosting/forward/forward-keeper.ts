import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Ask } from '../../../protocol/asks.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { Attention } from '../../../protocol/status.ts';
import type { Clock } from '../../clock.ts';
import { forwardUser } from '../../executors/run-uids.ts';
import type { Log } from '../../log.ts';
import { endSidePrograms } from '../../watchdog/side-ending.ts';
import { hasSidePrograms, ownProgram, startSideProgram } from '../../watchdog/side-program.ts';
import { livingGates } from '../gate/gate-files.ts';
import { portsTaken } from '../ports-taken.ts';
import { openPorts } from '../wire/door-trial.ts';
import {
  endForwarder,
  type ForwardDoor,
  forwarderNow,
  forwardFolder,
  forwardLog,
  forwardWord,
  makeForwardFolder,
  portProblems,
  seenByForwarder,
  writeTarget,
} from './forward-files.ts';
import { doorsNow, type ForwardPlan, forwardPlan, type LeftPorts, leftAfter } from './forward-plan.ts';
import { readLeft, writeLeft } from './left-ports.ts';

const timings = {
  lookMs: 1000,
  /** The forwarder is told anew so often, and goes on alone so long. */
  tellMs: 5000,
  aloneMs: 60_000,
  askMs: 5000,
  /** The host is asked for its door again: as a rule, and where what is known of it does not work. */
  askEveryMs: 60_000,
  askAgainMs: 3000,
  /** A new host's gate stands in a moment: at first it is asked so soon, and then each time after twice as long. */
  askSoonMs: 100,
  startMs: 10_000,
  retireMs: 2000,
  /** What could not be started is tried again. */
  againMs: 30_000,
  takenEveryMs: 60_000,
  waitMs: 10,
} as const;

interface ForwardOptions {
  home: string;
  self: NodeId;
  version: string;
  clock: Clock;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  /** host:port of where it is connected now. */
  addressOf(node: NodeId): string | null;
  /** Every address of this machine. */
  own(): string[];
  nameOf(node: NodeId): string;
  /** What whoever is not let through reads: one sentence. */
  because(): string;
  /** The program with the hidden command `__forward`; by default this process's own. */
  bin?: string | undefined;
}

interface Known {
  of: string;
  port: number;
  key: string;
}

/**
 * Keeps a forwarder on a machine that does not host GitLab, as the ledger says: looked at once a second, and at once when the ledger
 * changes. Nothing that fails here ends the agent, or harms anything: GitLab is reached by its host all the same.
 */
export class ForwardKeeper {
  readonly #options: ForwardOptions;
  readonly #uid = process.getuid?.() === 0 ? forwardUser : null;
  #left: LeftPorts | null;
  #door: Known | null = null;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** Of which host and epoch no door is known yet, and after how long it is asked again. */
  #soon = { of: '', ms: timings.askAgainMs as number };
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #takenAtMs = Number.NEGATIVE_INFINITY;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  /** The writing that the forwarder has, and what it says. */
  #told = '';
  #said = '';
  #number = 0;
  #problem: string | null = null;
  /** Why the host gives no door. */
  #noDoor: string | null = null;
  #plan: ForwardPlan | null = null;
  #wake = new AbortController();
  #isStopped = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: ForwardOptions) {
    this.#options = options;
    this.#left = readLeft(options.home);
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** The forwarder goes on for a minute, as the next agent may be there by then. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#wake.abort();
    await this.#loop;
  }

  ledgerChanged(): void {
    this.#wake.abort();
  }

  /** It listens there, as far as its own word goes. */
  listensOn(port: number): boolean {
    const { pid, words } = forwarderNow(this.#options.home);
    if (pid === null || !words.some((word) => word.endsWith(`/${port}`))) return false;
    return !portProblems(this.#options.home).some((one) => one.port === port);
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#wake = new AbortController();
      await this.#turn().catch((error: unknown) => this.#fails(sentenceOf(error)));
      const isAsking = this.#plan !== null && this.#problem === null && this.#door === null;
      const restMs = isAsking ? Math.min(timings.lookMs, this.#soon.ms) : timings.lookMs;
      await sleep(restMs, undefined, { signal: this.#wake.signal }).catch(() => undefined);
    }
  }

  #fails(problem: string | null): void {
    if (problem !== null) this.#failedAtMs = performance.now();
    if (problem !== null && problem !== this.#problem) this.#options.log.warn(`GitLab is not forwarded: ${problem}`);
    this.#problem = problem;
  }

  async #turn(): Promise<void> {
    const { home, self, ledger, addressOf, own } = this.#options;
    const known = ledger();
    const host = known?.gitlab.host ?? null;
    const connectedAt = host === null ? null : addressOf(host);
    this.#plan = forwardPlan({ self, ledger: known, connectedAt, own: own() });
    if (this.#plan === null) {
      if (existsSync(forwardFolder(home))) await endForwarder(home);
      this.#door = null;
      this.#said = '';
      return this.#fails(null);
    }
    if (this.#problem !== null && performance.now() - this.#failedAtMs < timings.againMs) return;
    // It hosted until now, and its gate has the ports yet: those are no other program's, to be left alone for minutes.
    if (livingGates(home).length > 0) return;
    this.#seeTaken(this.#plan);
    const doors = doorsNow(this.#plan.doors, this.#left, this.#boot);
    if (doors.length === 0) return;
    await this.#askHost(this.#plan);
    await this.#tell(this.#plan);
    await this.#keep(doors);
    this.#fails(null);
  }

  get #boot(): { bootId: string; bootMs: number } {
    const { clock } = this.#options;
    return { bootId: clock.bootId(), bootMs: clock.bootMs() };
  }

  /** Whether those that others have are still theirs. */
  #seeTaken({ doors }: ForwardPlan): void {
    if (performance.now() - this.#takenAtMs < timings.takenEveryMs) return;
    this.#takenAtMs = performance.now();
    const others = doors.map(({ port }) => port).filter((port) => !this.listensOn(port));
    this.#leave(portsTaken(others).map(({ port }) => port));
  }

  #leave(taken: readonly number[]): void {
    const after = leftAfter(this.#left, taken, this.#boot);
    if (after !== null && after !== this.#left) void writeLeft(this.#options.home, after);
    this.#left = after;
  }

  /** Its door for members: asked again where what is known of it does not work. */
  async #askHost({ host, epoch }: ForwardPlan): Promise<void> {
    const of = `${host}/${epoch}`;
    if (this.#door?.of !== of) this.#door = null;
    if (this.#soon.of !== of) {
      this.#soon = { of, ms: timings.askSoonMs };
      this.#askedAtMs = Number.NEGATIVE_INFINITY;
    }
    const { id, seen } = seenByForwarder(this.#options.home);
    const isFine = this.#door !== null && (id !== this.#told || seen === 'fine' || seen === null);
    const sinceMs = performance.now() - this.#askedAtMs;
    const againMs = this.#door === null ? this.#soon.ms : timings.askAgainMs;
    if (sinceMs < (isFine ? timings.askEveryMs : againMs)) return;
    this.#askedAtMs = performance.now();
    this.#soon.ms = Math.min(2 * this.#soon.ms, timings.askAgainMs);
    if (!this.#options.ledger()?.nodes[host]?.can?.includes('forward')) {
      // It would take the question for a broken one, each time.
      this.#noDoor = 'its version knows nothing of that, so update it';
      return;
    }
    try {
      const answer = await this.#options.ask(host, { kind: 'open-forward-door' }, timings.askMs);
      if (answer.kind !== 'forward-door')
        throw new Error(answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`);
      this.#door = { of, port: answer.port, key: answer.key };
      this.#noDoor = null;
    } catch (error) {
      this.#noDoor = sentenceOf(error);
    }
  }

  /** The same again only says that this agent lives. */
  async #tell({ addresses }: ForwardPlan): Promise<void> {
    const { home, self, because, clock } = this.#options;
    const gate = this.#door === null ? null : { addresses, port: this.#door.port, key: this.#door.key };
    const what = { bootId: clock.bootId(), node: self, gate, because: because().slice(0, 400) };
    const said = JSON.stringify(what);
    if (said === this.#said && performance.now() - this.#toldAtMs < timings.tellMs) return;
    if (said !== this.#said) this.#told = `${process.pid}-${++this.#number}`;
    this.#said = said;
    this.#toldAtMs = performance.now();
    const until = clock.bootMs() + timings.aloneMs;
    await writeTarget(makeForwardFolder(home), { id: this.#told, until, ...what }, this.#uid);
  }

  async #keep(doors: readonly ForwardDoor[]): Promise<void> {
    const { home, version, bin = ownProgram(), log } = this.#options;
    const words = ['1', String(this.#uid ?? '-'), version, ...doors.map(forwardWord)];
    const now = forwarderNow(home);
    if (now.pid !== null && now.words.join(' ') === words.join(' ')) return;
    if (!hasSidePrograms(bin)) throw new Error(`${bin} is not the agent's program`);
    if (now.pid !== null) await this.#retire(now.pid);
    const folder = makeForwardFolder(home);
    startSideProgram({ bin, words: ['__forward', folder, ...words.slice(1)], log: forwardLog(home), youngMiB: 2 });
    for (
      const until = performance.now() + timings.startMs;
      forwarderNow(home).pid === null;
      await sleep(timings.waitMs)
    )
      if (performance.now() > until || this.#isStopped)
        throw new Error(`the forwarder did not start: see what it said: tail ${forwardLog(home)}`);
    const problems = portProblems(home);
    this.#leave(problems.filter(({ code }) => code === 'EADDRINUSE').map(({ port }) => port));
    const open = doors.filter(({ port }) => !problems.some((one) => one.port === port)).map(({ port }) => port);
    if (open.length > 0) log.info(`GitLab is reached by this machine too: port ${open.join(', ')}`);
  }

  async #retire(pid: number): Promise<void> {
    const { home } = this.#options;
    const left = (): number[] => (forwarderNow(home).pid === null || seenByForwarder(home).id === '-' ? [] : [pid]);
    await endSidePrograms('what forwards to GitLab', { left, signal: 'SIGUSR2', politeMs: timings.retireMs });
  }

  /** What keeps this machine from forwarding; none of it keeps anybody from GitLab at its host. */
  attention(): Attention[] {
    const { home, nameOf, addressOf } = this.#options;
    const plan = this.#plan;
    if (plan === null) return [];
    const never = 'this machine need not forward: autogit-node join --forward never';
    const line = (sentence: string, fix: string | null): Attention => ({
      ...{ code: 'gitlab-forward', severity: 'info', sentence, fix },
    });
    if (this.#problem !== null)
      return [line(`GitLab is not reached by this machine's own name: ${this.#problem}`, null)];
    const isOpen = (port: number): boolean => this.listensOn(port);
    const taken = portsTaken(plan.doors.map(({ port }) => port).filter((port) => !isOpen(port)));
    const ports = taken.map(({ port, by }) =>
      line(`port ${port} of this machine is ${by}'s, so GitLab is not reached there by this machine's own name`, never),
    );
    const forbidden = portProblems(home).filter(({ code }) => code === 'EACCES');
    const rights = forbidden.map(({ port }) =>
      line(`port ${port} of this machine is root's, so GitLab is not reached there by this machine's own name`, never),
    );
    const host = nameOf(plan.host);
    const { seen } = seenByForwarder(home);
    const isCut = seen === 'unreached' && addressOf(plan.host) !== null && this.#door !== null;
    const way = isCut
      ? [line(`what comes to this machine for GitLab does not reach the gate of ${host}`, openPorts(host))]
      : [];
    const older =
      this.#door === null && this.#noDoor !== null && addressOf(plan.host) !== null
        ? [line(`${host} lets nothing in that this machine would hand on: ${this.#noDoor}`, null)]
        : [];
    return [...ports, ...rights, ...way, ...older];
  }

  /** The mesh has removed this machine. */
  async removed(): Promise<void> {
    await this.stop();
    await endForwarder(this.#options.home);
  }
}
