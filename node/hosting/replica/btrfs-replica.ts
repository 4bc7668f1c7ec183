import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { compareRounds, newestOf, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { holdersBelow } from '../mount-table.ts';
import { type DataOwner, markedEpoch, markerFile } from '../place-records.ts';
import { copiesOf } from '../place-tree.ts';
import type { SystemTools } from '../system-tools.ts';
import type { BootMoment, Replica, ReplicaTools, Round, RoundPart, RoundSource } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';
import type { RoundDisk } from './round-disk.ts';
import { StreamGuard } from './stream-guard.ts';
import { unwritableBelow } from './unwritable-below.ts';

const Name = z.string().transform((text, context): RoundName => {
  const name = readRoundName(text);
  if (name) return name;
  context.addIssue({ code: 'custom', message: 'no name of a round' });
  return z.NEVER;
});
const Marker = z.object({
  name: Name,
  /** The subvolume's own UUID here: another one under the same name has no right to this marker. */
  own: z.string(),
  uuid: z.string(),
  atMs: z.number(),
  wallMs: z.number(),
  parent: Name.nullable(),
  /** Where it was taken: the living subvolume, and what that was made from. */
  live: z.object({ own: z.string(), from: z.string() }).optional(),
  moment: z.object({ boot: z.string(), ms: z.number() }).optional(),
});

interface Subvolume {
  own: string;
  received: string | null;
  from: string;
  generation: number;
  isReadOnly: boolean;
}

/** The root of each, whatever its file system. */
const subvolumeInode = 256;

/** Null where there is none, half of one, or one that the disk has lost: its round is asked for again. Throws where it cannot be read now. */
function readMarker(file: string): z.output<typeof Marker> | null {
  try {
    return Marker.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    const isNone = error instanceof SyntaxError || error instanceof z.ZodError;
    if (isNone || ['ENOENT', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

const liveOf = { hot: 'live', bulk: 'bulk' } as const;

/** What a round is on this disk, and of which living subvolume; `live` is not known of what was received. */
interface Origin {
  own: string;
  live?: { own: string; from: string } | undefined;
  moment?: BootMoment | undefined;
}

interface ReplicaParts {
  owner: Pick<DataOwner, 'mesh' | 'data'>;
  /** The same for both parts. */
  disk: RoundDisk;
  tools: ReplicaTools;
  /** The file system is the owner's, and mounted as the owner likes: without `flushoncommit`, see loop-image.ts. */
  isOwners?: boolean;
  /** Where its rounds lie; beside the living data by themselves. */
  folder?: string;
  /** Rounds that lie elsewhere on that disk: what is received may be a difference to one of these. */
  besides?: readonly { name: RoundName; uuid: string }[];
}

/** Rounds as read-only snapshots, their differences as btrfs streams (SAFETY H10; every order here was tried: docs/hosting.md). */
export class BtrfsReplica implements Replica {
  readonly part: RoundPart;
  /** The living data. */
  readonly live: string;
  readonly #folder: string;
  readonly #owner: Pick<DataOwner, 'mesh' | 'data'>;
  readonly #disk: RoundDisk;
  readonly #tools: ReplicaTools;
  readonly #isOwners: boolean;
  readonly #besides: readonly { name: RoundName; uuid: string }[];
  #rounds = new Map<string, Round>();
  #origins = new Map<string, Origin>();
  /** Which round was last asked about. */
  #newest: { round: Round; generation: number } | null = null;
  /** Nothing was written since that round when the file system had come to that transaction. */
  #unchanged: { round: Round; generation: number } | null = null;

  /** `tree`: the folder of the place that has its subvolumes. */
  constructor(
    part: RoundPart,
    tree: string,
    { owner, disk, tools, isOwners = false, folder, besides = [] }: ReplicaParts,
  ) {
    this.#besides = besides;
    this.#isOwners = isOwners;
    this.part = part;
    this.live = join(tree, liveOf[part]);
    this.#folder = join(folder ?? copiesOf(tree), part);
    this.#owner = owner;
    this.#disk = disk;
    this.#tools = tools;
  }

  folderOf({ name }: { name: RoundName }): string {
    return join(this.#folder, 'rounds', roundText(name), this.part);
  }

  rounds(): Round[] {
    return [...this.#rounds.values()].sort((a, b) => compareRounds(a.name, b.name));
  }

  async open(): Promise<Round[]> {
    for (const folder of ['rounds', 'incoming', 'markers']) mkdirSync(join(this.#folder, folder), { recursive: true });
    // A marker in sight may be in memory only, from before the agent was killed: on the disk first, then believed.
    await this.#disk.sync(this.#disk.mark);
    this.#rounds.clear();
    const whole = await unwritableBelow(join(this.#folder, 'rounds'), this.#tools);
    const refused: string[] = [];
    for (const entry of readdirSync(join(this.#folder, 'rounds'))) {
      const name = readRoundName(entry);
      if (!name) continue;
      const round = await this.#marked(name, whole);
      if (round) this.#rounds.set(entry, round);
      else refused.push(join(this.#folder, 'rounds', entry));
    }
    await this.#discard([...refused, ...this.#incoming()]);
    for (const file of readdirSync(join(this.#folder, 'markers')))
      if (!this.#rounds.has(file.replace(/\.json$/, ''))) rmSync(join(this.#folder, 'markers', file));
    return this.rounds();
  }

  momentOf({ name }: Round): BootMoment | null {
    return this.#origins.get(roundText(name))?.moment ?? null;
  }

  async snapshot(name: RoundName, atMs: number, moment?: BootMoment): Promise<Round> {
    const text = roundText(name);
    const newest = newestOf(this.rounds());
    if (newest && compareRounds(newest.name, name) >= 0)
      throw new ReplicaProblem(`round ${text} is not newer than ${roundText(newest.name)}`, 'a name is used once only');
    const folder = join(this.#folder, 'rounds', text);
    const { mark } = this.#disk;
    mkdirSync(folder);
    try {
      // Whoever asked for this round renamed its files before: with their bytes, wherever the file system puts off either.
      if (this.#isOwners) await this.#disk.sync(mark);
      // Looks go beside what takes time: a push waits for all of it.
      const looking = this.#lookBeside(this.live);
      await this.#tools.run('btrfs', ['subvolume', 'snapshot', '-r', this.live, join(folder, this.part)]);
      this.#refuseImplausible(name, join(folder, this.part));
      const made = this.#lookBeside(join(folder, this.part));
      await this.#disk.sync(mark);
      const [live, { own, generation }] = [await looking, await made];
      const round: Round = { part: this.part, name, atMs, wallMs: Date.now(), uuid: own, parent: null };
      await this.#mark(round, { own, live: { own: live.own, from: live.from }, moment }, mark);
      this.#newest = { round, generation };
      return round;
    } catch (error) {
      await this.#condemn(text, folder);
      throw error;
    }
  }

  async hasChanged(since: Round, isCommitted = false): Promise<boolean> {
    // Fsynced writes raise the generation at the next commit only, up to 30 s later.
    if (!isCommitted) await this.#tools.run('btrfs', ['filesystem', 'sync', this.#disk.folder]);
    const generation = await this.#disk.generation();
    // A look is a program, and an idle GitLab is asked about for days.
    if (generation !== null && this.#unchanged?.round === since && this.#unchanged.generation === generation)
      return false;
    // What nobody can write to stays as it is: it is looked at once.
    if (this.#newest?.round !== since)
      this.#newest = { round: since, generation: (await this.#look(this.folderOf(since))).generation };
    const hasChanged = (await this.#look(this.live)).generation > this.#newest.generation;
    this.#unchanged = hasChanged || generation === null ? null : { round: since, generation };
    return hasChanged;
  }

  send(round: Round, parent: Round | null): RoundSource {
    const basis = parent ? ['-p', this.folderOf(parent)] : [];
    return this.#tools.read('btrfs', ['send', '-q', '--proto', '2', ...basis, this.folderOf(round)]);
  }

  async receive(round: Round, source: RoundSource, makeRoom?: () => Promise<void>): Promise<void> {
    const text = roundText(round.name);
    const known = this.#rounds.get(text);
    if (known && known.uuid !== round.uuid)
      throw new ReplicaProblem(`another round is here under the name ${text}`, 'the host takes one of another name');
    if (known) return source.end();
    const incoming = join(this.#folder, 'incoming', text);
    const folder = join(this.#folder, 'rounds', text);
    const { mark } = this.#disk;
    try {
      // What a dead sender left stands writable under the final name, and would end the next try with "File exists".
      await this.#discard([...this.#incoming(), folder]);
      mkdirSync(incoming);
      const guard = new StreamGuard(
        { name: this.part, uuid: round.uuid, parentUuid: this.#uuidOf(round.parent) },
        makeRoom,
      );
      // Not `pipe`: a sender that was cut off meanwhile is over already, and whoever reads it would wait for ever.
      const guarded = pipeline(source.stream, guard, () => undefined);
      await this.#tools.feed('btrfs', ['receive', '-q', '-C', incoming], guarded).catch((error) => {
        throw guard.refused ?? error;
      });
      await source.done;
      const looking = this.#lookBeside(join(incoming, this.part));
      this.#refuseImplausible(round.name, join(incoming, this.part));
      await this.#disk.sync(mark);
      const got = await looking;
      if (!got.isReadOnly || got.received !== round.uuid)
        throw new ReplicaProblem(`round ${text} came as another one`, 'it was deleted and is asked for again');
      // The folder: a received subvolume cannot be moved itself.
      await this.#tools.rename(incoming, folder);
      await this.#mark(round, { own: got.own }, mark);
    } catch (error) {
      source.end();
      await this.#condemn(text, incoming, folder);
      throw error;
    }
  }

  parentsFor(round: Round): Round[] {
    const live = this.#origins.get(roundText(round.name))?.live;
    return this.rounds().filter((one) => {
      const origin = this.#origins.get(roundText(one.name));
      if (one === round || live === undefined || origin === undefined) return false;
      // Of the same subvolume; the round of which it was made; or of that of which it was made, as an upgrade does.
      return origin.live?.own === live.own || origin.own === live.from || origin.live?.own === live.from;
    });
  }

  async remove(rounds: readonly Round[]): Promise<void> {
    if (rounds.length === 0) return;
    const held = this.#heldFolders();
    const free = rounds.filter(({ name }) => !held.has(roundText(name)));
    const texts = free.map(({ name }) => roundText(name));
    for (const text of texts) {
      this.#rounds.delete(text);
      this.#origins.delete(text);
    }
    // The round first: a marker without a round is swept at the next start, a round without one would be received again.
    await this.#discard(texts.map((text) => join(this.#folder, 'rounds', text)));
    for (const text of texts) rmSync(this.#markerOf(text), { force: true });
  }

  /**
   * Written, fsynced, renamed, and all of it synced once more: only then may anybody count on it. That sync commits the names of
   * marker and round with all else; an fsync of either folder before it would be one more commit, which a push waits for.
   */
  async #mark(round: Round, origin: Origin, mark: number): Promise<void> {
    const text = roundText(round.name);
    const parent = round.parent && roundText(round.parent);
    const file = this.#markerOf(text);
    await this.#tools.write(`${file}.new`, JSON.stringify({ ...round, ...origin, name: text, parent }));
    await this.#tools.rename(`${file}.new`, file);
    await this.#disk.sync(mark);
    this.#rounds.set(text, round);
    this.#origins.set(text, origin);
  }

  /** Null: no round lies there, and what does is deleted. Throws where that cannot be told now, as of memory that has run out. */
  async #marked(name: RoundName, whole: ReadonlyMap<string, string>): Promise<Round | null> {
    const marker = readMarker(this.#markerOf(roundText(name)));
    const folder = this.folderOf({ name });
    const seen = whole.get(folder);
    const isThere = seen !== undefined || lstatSync(folder, { throwIfNoEntry: false })?.ino === subvolumeInode;
    if (marker === null || !isThere) return null;
    const { own, isReadOnly } = seen === undefined ? await this.#look(folder) : { own: seen, isReadOnly: true };
    if (compareRounds(marker.name, name) !== 0 || own !== marker.own || !isReadOnly) return null;
    this.#origins.set(roundText(name), { own, live: marker.live, moment: marker.moment });
    const { atMs, wallMs, uuid, parent } = marker;
    return { part: this.part, name, atMs, wallMs, uuid, parent };
  }

  #uuidOf(parent: RoundName | null): string | null {
    if (parent === null) return null;
    const known = [...this.#besides, ...this.#rounds.values()].find((one) => compareRounds(one.name, parent) === 0);
    if (known === undefined)
      throw new ReplicaProblem(`its parent ${roundText(parent)} is not here`, 'it is asked for again, as a whole copy');
    return known.uuid;
  }

  #markerOf(text: string): string {
    return join(this.#folder, 'markers', `${text}.json`);
  }

  #incoming(): string[] {
    return readdirSync(join(this.#folder, 'incoming')).map((entry) => join(this.#folder, 'incoming', entry));
  }

  /** Awaited later; whatever fails before that is the better reason. Begins after what takes time: a start of a program holds all of this process up for some ms. */
  #lookBeside(path: string): Promise<Subvolume> {
    const looking = nextTurn().then(() => this.#look(path));
    looking.catch(() => undefined);
    return looking;
  }

  async #look(path: string): Promise<Subvolume> {
    const text = await this.#tools.run('btrfs', ['subvolume', 'show', path]);
    const field = (name: string): string => new RegExp(`^\\s*${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
    const received = field('Received UUID');
    return {
      own: field('UUID'),
      from: field('Parent UUID'),
      received: received === '-' || received === '' ? null : received,
      generation: Number(field('Generation')),
      isReadOnly: /^\s*Flags:.*\breadonly\b/m.test(text),
    };
  }

  /** Data of another, of another epoch, or half gone: not counted, and not a reason to thin what is good. */
  #refuseImplausible(name: RoundName, folder: string): void {
    if (this.part === 'bulk') return;
    const look = `nothing is thinned until somebody looked: ls -la ${this.live}`;
    const data = join(folder, 'data');
    // What another member sent is a stranger's: a link leads anywhere, and a pipe holds up whoever reads it.
    const isThere = lstatSync(data, { throwIfNoEntry: false })?.isDirectory() === true;
    const isRead = isThere && lstatSync(join(data, markerFile), { throwIfNoEntry: false })?.isFile() !== false;
    if (!isRead) throw new ReplicaProblem('these data have another thing in place of their folder', look);
    const epoch = markedEpoch(data, this.#owner);
    if (epoch === null) throw new ReplicaProblem('these data carry no marker of ours', look);
    if (epoch !== name.epoch) throw new ReplicaProblem(`these data are of epoch ${epoch}, not ${name.epoch}`, look);
  }

  /** A round that failed is none, whatever of it looks whole: a sync tells of a loss once only. */
  async #condemn(text: string, ...folders: string[]): Promise<void> {
    this.#rounds.delete(text);
    rmSync(this.#markerOf(text), { force: true });
    // If that fails: it has no marker, so it counts for nobody, and the next try and the next start delete it.
    await this.#discard(folders).catch(() => {});
  }

  /** In one batch: a deleted snapshot frees nothing until the cleaner was there, and comes back after a power cut before that. */
  async #discard(folders: readonly string[]): Promise<void> {
    const there = folders.filter((folder) => existsSync(folder));
    if (there.length === 0) return;
    const subvolumes = there.flatMap((folder) => readdirSync(folder).map((entry) => join(folder, entry)));
    if (subvolumes.length > 0) {
      await this.#tools.run('btrfs', ['subvolume', 'delete', '--commit-after', ...subvolumes]);
      await this.#tools.run('btrfs', ['subvolume', 'sync', this.#folder]);
      await this.#tools.run('btrfs', ['filesystem', 'sync', this.#disk.folder]);
    }
    for (const folder of there) rmdirSync(folder);
  }

  /** Rounds that somebody has mounted, in whatever namespace: a delete would succeed under a running reader. */
  #heldFolders(): Set<string> {
    const roots = holdersBelow(join(this.#folder, 'rounds')).map(({ mount }) => mount.root);
    return new Set(roots.flatMap((root) => /\/rounds\/([\d-]+)(?:\/|$)/.exec(root)?.[1] ?? []));
  }
}

/** All rounds in that folder: it holds subvolumes, which a plain delete does not take. */
export async function dropRounds(folder: string, tools: SystemTools): Promise<void> {
  if (!existsSync(folder)) return;
  const rounds = Object.keys(liveOf).flatMap((part) =>
    ['rounds', 'incoming'].flatMap((stage) => {
      const at = join(folder, part, stage);
      return existsSync(at) ? readdirSync(at).map((round) => join(at, round)) : [];
    }),
  );
  const subvolumes = rounds.flatMap((round) => readdirSync(round).map((entry) => join(round, entry)));
  if (subvolumes.length > 0) await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', ...subvolumes]);
  rmSync(folder, { recursive: true });
}
