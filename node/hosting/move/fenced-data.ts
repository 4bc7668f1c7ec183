import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { GitlabProjects } from '../../../gitlab-bridge/gitlab-projects.ts';
import type { Comparison } from '../../../protocol/differences.ts';
import { AutogitError } from '../../../protocol/errors.ts';
import { type FencedName, type FencedSeen, fencedEpoch, fencedMost } from '../../../protocol/fenced.ts';
import { asSentence } from '../../../protocol/ids.ts';
import { compareRounds, newestOf, roundText } from '../../../protocol/round-name.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import { span } from '../../../scheduler/phrases.ts';
import { execCleanly } from '../../clean-spawn.ts';
import type { Clock } from '../../clock.ts';
import { InTurn } from '../../in-turn.ts';
import type { Log } from '../../log.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { PlaceAt } from '../place-choice.ts';
import { copiesOf, treeOf } from '../place-tree.ts';
import { replaceFile, type SystemTools, toolEnv } from '../system-tools.ts';
import { type DataSide, sideIn } from '../vault/compare-data.ts';
import { ComparedPages, compareWith, type WholeComparison } from '../vault/gitlab-compare.ts';
import { keptRounds } from '../vault/kept-rounds.ts';
import { projectBeside } from '../vault/project-beside.ts';
import type { GitDoor } from '../vault/project-push.ts';
import { dropFolder, lookedFile } from '../vault/vault-tree.ts';
import { withFix } from '../with-fix.ts';
import { writtenAt } from '../written-at.ts';
import { fencedNames } from './living-data.ts';
import { baseAfter, roundSide, TakenBeside } from './taken-beside.ts';

interface FencedOptions {
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  tools: SystemTools;
  /** What would be free without that folder, in bytes; null where nobody can tell. */
  exclusive(folder: string, signal: AbortSignal): Promise<number | null>;
  /** The mesh's GitLab, and where its data lie here, open; in words why not. */
  here(): { hosting: Hosting; place: PlaceAt; isHost: boolean } | { problem: string };
  /** Where GitLab takes a push, with the mesh's token; null while it has none, or this machine may not know it. */
  api(): GitDoor | null;
  /** After a recovery by force it may have been served beside (scheduler/hosting/sides.ts). */
  wasBeside(name: FencedName): boolean;
  /** What the ledger calls kept here, and not looked at. */
  met(): readonly FencedName[];
  /** Names of those that are left. */
  dropped(data: string, left: readonly string[]): void;
}

/** ms */
const timings = { apiMs: 10_000, measureMs: 600_000, measureAgainMs: 6 * 3_600_000 } as const;

interface Known {
  at: number;
  bytes: number | null;
  measuredMs: number;
}

/**
 * What this machine served of GitLab in an epoch that is over, and the mesh goes on without (living-data.ts): compared with what serves,
 * one project of it brought over, and deleted on a person's word. Nothing here deletes any of it by itself.
 */
export class FencedData {
  readonly #options: FencedOptions;
  readonly #known = new Map<string, Known>();
  readonly #brought = new Map<string, { isDone: boolean; because: string }>();
  #doing: { name: string; phase: string } | null = null;
  readonly #compared = new ComparedPages();
  readonly #taken: TakenBeside;
  #stopped = new AbortController();
  /** One thing at a time. */
  readonly #acts = new InTurn();
  #measuring: Promise<void> | null = null;

  constructor(options: FencedOptions) {
    this.#options = options;
    this.#taken = new TakenBeside(options);
  }

  /** What lies there is about to be closed: what is under way ends. */
  async end(): Promise<void> {
    this.#stopped.abort();
    await Promise.all([this.#acts.over(), this.#measuring, this.#taken.end()]);
    this.#stopped = new AbortController();
  }

  /** For this machine's report. */
  seen(): { fenced?: FencedSeen[]; unkept?: FencedName[] } {
    const here = this.#options.here();
    if ('problem' in here) return {};
    const tree = treeOf(here.place);
    const all = namesIn(tree);
    const gone = isMounted(tree) ? this.#options.met().filter((name) => !all.includes(name)) : [];
    const unkept = gone.length === 0 ? {} : { unkept: gone };
    const names = all.slice(-fencedMost);
    if (names.length === 0) return unkept;
    this.#measuring ??= this.#measure(tree, names).finally(() => {
      this.#measuring = null;
    });
    return { fenced: names.map((name) => this.#seen(tree, name, here.hosting)), ...unkept };
  }

  #seen(tree: string, name: FencedName, { copies }: Hosting): FencedSeen {
    const { at, bytes } = this.#dated(tree, name);
    const brought = this.#brought.get(name);
    const doing = this.#doing?.name === name ? { doing: this.#doing.phase } : {};
    const looked = isLookedAt(join(tree, name));
    const took = this.#options.wasBeside(name) ? this.#taken.seen(tree, name, copies?.bases) : {};
    return { name, at, bytes, ...doing, ...took, ...(looked && { looked }), ...(brought && { brought }) };
  }

  /** One page, from that row on. */
  compare(name: FencedName, from: number): Promise<Comparison> {
    return this.#inTurn(async (signal) => {
      const page = await this.#compared.page({ id: name, from, stopped: signal }, (late) => this.#whole(name, late));
      await noteLookedAt(join(this.#open(name).tree, name), this.#options);
      return page;
    });
  }

  /** Begins it. Throws with why not. */
  bring(name: FencedName, project: string): string {
    const { tree } = this.#open(name);
    const door = this.#door();
    this.#requireIdle();
    this.#brought.delete(name);
    const say = (phase: string): void => {
      this.#doing = { name, phase };
    };
    const { tools, log } = this.#options;
    const wish = { tree, backup: name, project, projects: projectsBy(door), door, restic: noRestic, tools, say };
    const bringing = this.#inTurn((signal) => projectBeside({ ...wish, signal }));
    say(`looks for ${project}`);
    void bringing
      .then(
        (because) => {
          log.info(because);
          this.#brought.set(name, { isDone: true, because: asSentence(because) });
        },
        (error) => {
          const because = asSentence(`nothing of ${name} was brought over: ${withFix(error)}`);
          this.#brought.set(name, { isDone: false, because });
        },
      )
      .finally(() => {
        this.#doing = null;
      });
    return 'it is brought over beside the present one: autogit-node gitlab fenced';
  }

  /** A person said so. */
  drop(name: FencedName): Promise<string> {
    return this.#inTurn(async () => {
      const { tree, hosting } = this.#open(name);
      const { bytes } = this.#known.get(name) ?? { bytes: null };
      await dropFolder(join(tree, name), this.#options.tools);
      this.#known.delete(name);
      this.#brought.delete(name);
      this.#taken.forget(name);
      this.#options.dropped(hosting.data, fencedNames(tree));
      // What rounds share with it becomes free with these.
      const room =
        bytes === null || bytes === 0
          ? ''
          : `: ${showBytes(bytes)} more are free once its file system has cleared it away`;
      const because = `${name} is deleted${room}`;
      this.#options.log.info(`${because}, as a person said`);
      return because;
    });
  }

  /** A project that is being brought over may take hours: whoever else asks is told. */
  #inTurn<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#requireIdle();
    const { signal } = this.#stopped;
    return this.#acts.do(() => {
      signal.throwIfAborted();
      return act(signal);
    });
  }

  #requireIdle(): void {
    if (this.#doing === null) return;
    throw new AutogitError('backup', `a project of ${this.#doing.name} is being brought over`, {
      hint: 'wait until that is over: autogit-node gitlab fenced',
    });
  }

  #door(): GitDoor {
    const door = this.#options.api();
    if (door !== null) return door;
    throw new AutogitError('gitlab-answer', 'this machine has no token of GitLab for that', {
      hint: 'machines that vote have it: autogit-node status -o wide',
    });
  }

  /** Throws where that is not kept here, or its place is not open. */
  #open(name: FencedName): { tree: string; hosting: Hosting; isHost: boolean } {
    const here = this.#options.here();
    if ('problem' in here) throw new AutogitError('backup', here.problem, { hint: listHint });
    const tree = treeOf(here.place);
    if (!namesIn(tree).includes(name))
      throw new AutogitError('backup', `${name} is not kept on this machine (any more)`, { hint: listHint });
    return { tree, hosting: here.hosting, isHost: here.isHost };
  }

  async #whole(name: FencedName, signal: AbortSignal): Promise<WholeComparison> {
    const { tree, hosting, isHost } = this.#open(name);
    const wallMs = this.#options.clock.wallMs();
    const { now, note } = isHost ? { now: sideIn(tree), note: null } : presentHere(tree, name, hosting, wallMs);
    const whole = await compareWith({
      ...{ tree, now, id: name, wallMs, signal },
      projects: async () => projectsBy(this.#door()).list(),
      backup: async () => noRestic(),
    });
    const written = writtenWords(tree, name, hosting);
    const notes = [...(written === null ? [] : [written]), ...(note === null ? [] : [note])].map(asSentence);
    return { ...whole, notes: [...notes, ...whole.notes].slice(0, 16) };
  }

  /** When it was written to is known at once: to measure another one takes minutes. */
  #dated(tree: string, name: string): Known {
    const at = (): number => writtenAt(join(tree, name, 'live'));
    const known = this.#known.get(name) ?? { at: at(), bytes: null, measuredMs: Number.NEGATIVE_INFINITY };
    this.#known.set(name, known);
    return known;
  }

  /** Shared with rounds, so what would be free is told by the file system alone, which walks all of it for that. */
  async #measure(tree: string, names: readonly string[]): Promise<void> {
    const nowMs = this.#options.clock.bootMs();
    const isDue = (name: string): boolean =>
      nowMs - (this.#known.get(name)?.measuredMs ?? Number.NEGATIVE_INFINITY) >= timings.measureAgainMs;
    const name = names.find(isDue);
    if (name === undefined) return;
    const { signal } = this.#stopped;
    const at = writtenAt(join(tree, name, 'live'));
    const before = this.#known.get(name)?.bytes ?? null;
    this.#known.set(name, { at, bytes: before, measuredMs: nowMs });
    const bytes = await this.#options.exclusive(join(tree, name), signal).catch(() => before);
    // It was dropped meanwhile.
    if (!this.#known.has(name)) return;
    this.#known.set(name, { at, bytes, measuredMs: signal.aborted ? Number.NEGATIVE_INFINITY : nowMs });
  }
}

/** By the files of both: a push alone may leave no trace in them, and is told by its ref. */
const written = {
  none: 'neither the database nor Redis was written to here',
  some: 'the database or Redis was written to here',
} as const;

const isLookedAt = (folder: string): boolean => existsSync(join(folder, lookedFile));

/** Whoever asks for it reads it; what comes after is read from this disk. */
async function noteLookedAt(folder: string, { clock, tools }: Pick<FencedOptions, 'clock' | 'tools'>): Promise<void> {
  if (!isLookedAt(folder)) await replaceFile(join(folder, lookedFile), JSON.stringify({ at: clock.wallMs() }), tools);
}

const projectsBy = (door: GitDoor): GitlabProjects => new GitlabProjects({ ...door, timeoutMs: timings.apiMs });

const listHint = 'which there are: autogit-node gitlab fenced';

const noRestic = (): never => {
  throw new AutogitError('backup', 'it is no backup', { hint: listHint });
};

const namesIn = (tree: string): string[] => (existsSync(tree) ? fencedNames(tree).sort() : []);

/** An image that is not mounted shows an empty folder. */
const isMounted = (tree: string): boolean => existsSync(copiesOf(tree)) || existsSync(join(tree, 'live'));

/**
 * What serves elsewhere is here as its newest round: seconds old while this machine is in sync, and how old else is said. Where none has come, or comes, it is what was here before that: the round
 * with which the mesh went on. Never a later one of the epoch that was served here: that is of this side.
 */
function presentHere(
  tree: string,
  name: FencedName,
  { epoch, copies }: Hosting,
  wallMs: number,
): { now: DataSide; note: string } {
  const newest = newestOf(keptRounds(tree, 'hot').filter((one) => one.name.epoch === epoch));
  const side = newest && roundSide(tree, newest.name);
  if (newest && side)
    return {
      now: side,
      note: `what serves now is looked at in its round ${roundText(newest.name)} of ${span(wallMs - newest.wallMs)} ago, the newest that is here`,
    };
  const base = baseAfter(copies?.bases, fencedEpoch(name));
  const before = base && roundSide(tree, base);
  if (base && before)
    return {
      now: before,
      note: `this machine has no round yet of what serves now: it is compared with round ${roundText(base)}, with which the mesh went on`,
    };
  throw new AutogitError('backup', 'this machine has no round yet of what serves now', {
    hint: 'it comes with the first copy: autogit-node gitlab copies',
  });
}

/** How long GitLab wrote to it after the round with which the next epoch began: the rows of that time are in it alone. */
export function writtenWords(tree: string, name: FencedName, { copies }: Pick<Hosting, 'copies'>): string | null {
  const base = baseAfter(copies?.bases, fencedEpoch(name));
  if (base === null) return null;
  const round = keptRounds(tree, 'hot').find((one) => compareRounds(one.name, base) === 0);
  const at = writtenAt(join(tree, name, 'live'));
  if (round === undefined || at === 0)
    return `the mesh went on with round ${roundText(base)} of it; how long it was written to here after that is not known any more`;
  const ms = at - round.wallMs;
  if (ms <= 0) return `${written.none} after round ${roundText(base)}, with which the mesh went on`;
  return `${written.some} for ${span(ms)} more after round ${roundText(base)}, with which the mesh went on: rows of that time are in ${name} alone`;
}

/** bytes; null where the file system does not tell them. It has the folder open: it ends with whoever wants to close its place. */
export async function exclusiveBytes(folder: string, signal: AbortSignal): Promise<number | null> {
  const options = { signal, timeout: timings.measureMs, env: toolEnv };
  const { stdout } = await execCleanly('btrfs', ['filesystem', 'du', '-s', '--raw', folder], options);
  return exclusiveIn(stdout);
}

export function exclusiveIn(said: string): number | null {
  const exclusive = /^\s*\d+\s+(\d+)\s/m.exec(said)?.[1];
  return exclusive === undefined ? null : Number(exclusive);
}
