import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { compareRounds, newestOf, type RoundName, readRoundName, roundText } from '../../../protocol/round-name.ts';
import { holdersOf, mountsOf } from '../mount-table.ts';
import type { Replica, ReplicaTools, Round, RoundSource } from './replica-ports.ts';
import { ReplicaProblem } from './replica-problem.ts';

/** Of the data themselves, inside the subvolume: whose they are. A round without it is somebody else's, or half of one. */
export const dataMarker = '.autogit-data';

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
});

interface Subvolume {
  own: string;
  received: string | null;
  generation: number;
  isReadOnly: boolean;
}

/** Rounds as read-only snapshots, their differences as btrfs streams (SAFETY H10; every order here was tried: docs/hosting.md). */
export class BtrfsReplica implements Replica {
  readonly part = 'hot';
  readonly #mount: string;
  readonly #dataId: string;
  readonly #tools: ReplicaTools;
  #rounds = new Map<string, Round>();
  /** One sync at a time, and nobody else's: it tells of a loss once only. */
  #syncing: Promise<unknown> = Promise.resolve();

  constructor(mount: string, dataId: string, tools: ReplicaTools) {
    this.#mount = mount;
    this.#dataId = dataId;
    this.#tools = tools;
  }

  get live(): string {
    return join(this.#mount, 'live');
  }

  folderOf(round: { name: RoundName }): string {
    return join(this.#mount, 'rounds', roundText(round.name), 'hot');
  }

  rounds(): Round[] {
    return [...this.#rounds.values()].sort((a, b) => compareRounds(a.name, b.name));
  }

  /** Host, once: an empty place for the data. */
  async prepare(): Promise<void> {
    await this.#tools.run('btrfs', ['subvolume', 'create', this.live]);
    // So that a delete of the living data refuses; the file system is mounted by its own root all the same.
    await this.#tools.run('btrfs', ['subvolume', 'set-default', this.live]);
    await this.#tools.write(join(this.live, dataMarker), this.#dataId);
  }

  async open(): Promise<Round[]> {
    for (const folder of ['rounds', 'incoming', 'markers']) mkdirSync(join(this.#mount, folder), { recursive: true });
    // A marker in sight may be in memory only, from before the agent was killed: on the disk first, then believed.
    await this.#sync();
    this.#rounds.clear();
    const refused: string[] = [];
    for (const entry of readdirSync(join(this.#mount, 'rounds'))) {
      const name = readRoundName(entry);
      if (!name) continue;
      const round = await this.#marked(name);
      if (round) this.#rounds.set(entry, round);
      else refused.push(join(this.#mount, 'rounds', entry));
    }
    await this.#discard([...refused, ...this.#incoming()]);
    for (const file of readdirSync(join(this.#mount, 'markers')))
      if (!this.#rounds.has(file.replace(/\.json$/, ''))) rmSync(join(this.#mount, 'markers', file));
    return this.rounds();
  }

  async snapshot(name: RoundName, atMs: number): Promise<Round> {
    const text = roundText(name);
    const newest = newestOf(this.rounds());
    if (newest && compareRounds(newest.name, name) >= 0)
      throw new ReplicaProblem(`round ${text} is not newer than ${roundText(newest.name)}`, 'a name is used once only');
    const folder = join(this.#mount, 'rounds', text);
    mkdirSync(folder);
    try {
      await this.#tools.run('btrfs', ['subvolume', 'snapshot', '-r', this.live, join(folder, 'hot')]);
      this.#refuseImplausible(join(folder, 'hot'));
      await this.#sync();
      const { own } = await this.#look(join(folder, 'hot'));
      const round: Round = { part: this.part, name, atMs, wallMs: Date.now(), uuid: own, parent: null };
      await this.#mark(round, own);
      return round;
    } catch (error) {
      await this.#condemn(text, folder);
      throw error;
    }
  }

  async hasChanged(since: Round): Promise<boolean> {
    // Fsynced writes raise the generation at the next commit only, up to 30 s later.
    await this.#tools.run('btrfs', ['filesystem', 'sync', this.#mount]);
    const [live, newest] = [await this.#look(this.live), await this.#look(this.folderOf(since))];
    return live.generation > newest.generation;
  }

  send(round: Round, parent: Round | null): RoundSource {
    const basis = parent ? ['-p', this.folderOf(parent)] : [];
    return this.#tools.read('btrfs', ['send', '-q', '--proto', '2', ...basis, this.folderOf(round)]);
  }

  async receive(round: Round, source: RoundSource): Promise<void> {
    const text = roundText(round.name);
    if (this.#rounds.has(text)) return source.end();
    const incoming = join(this.#mount, 'incoming', text);
    const folder = join(this.#mount, 'rounds', text);
    try {
      // What a dead sender left stands writable under the final name, and would end the next try with "File exists".
      await this.#discard([...this.#incoming(), folder]);
      mkdirSync(incoming);
      await this.#tools.feed('btrfs', ['receive', '-q', '-C', incoming], source.stream);
      await source.done;
      const got = await this.#look(join(incoming, 'hot'));
      if (!got.isReadOnly || got.received !== round.uuid)
        throw new ReplicaProblem(`round ${text} came as another one`, 'it was deleted and is asked for again');
      this.#refuseImplausible(join(incoming, 'hot'));
      await this.#sync();
      // The folder: a received subvolume cannot be moved itself.
      await this.#tools.rename(incoming, folder);
      await this.#tools.syncFolder(join(this.#mount, 'rounds'));
      await this.#mark(round, got.own);
    } catch (error) {
      source.end();
      await this.#condemn(text, incoming, folder);
      throw error;
    }
  }

  async remove(rounds: readonly Round[]): Promise<void> {
    if (rounds.length === 0) return;
    const held = this.#heldFolders();
    const free = rounds.filter(({ name }) => !held.has(roundText(name)));
    const texts = free.map(({ name }) => roundText(name));
    for (const text of texts) this.#rounds.delete(text);
    // The round first: a marker without a round is swept at the next start, a round without one would be received again.
    await this.#discard(texts.map((text) => join(this.#mount, 'rounds', text)));
    for (const text of texts) rmSync(this.#markerOf(text), { force: true });
  }

  async serve(round: Round): Promise<void> {
    const next = join(this.#mount, 'live-next');
    if (existsSync(next)) await this.#tools.run('btrfs', ['subvolume', 'delete', '--commit-after', next]);
    await this.#tools.run('btrfs', ['subvolume', 'snapshot', this.folderOf(round), next]);
    if (existsSync(this.live))
      await this.#tools.rename(this.live, join(this.#mount, `fenced-${roundText(round.name)}`));
    await this.#tools.rename(next, this.live);
    await this.#tools.run('btrfs', ['subvolume', 'set-default', this.live]);
    await this.#sync();
  }

  /** Written, fsynced, renamed, the folder fsynced, and all of it synced once more: only then may anybody count on it. */
  async #mark(round: Round, own: string): Promise<void> {
    const text = roundText(round.name);
    const parent = round.parent && roundText(round.parent);
    const file = this.#markerOf(text);
    await this.#tools.write(`${file}.new`, JSON.stringify({ ...round, name: text, own, parent }));
    await this.#tools.rename(`${file}.new`, file);
    await this.#tools.syncFolder(join(this.#mount, 'markers'));
    await this.#sync();
    this.#rounds.set(text, round);
  }

  async #marked(name: RoundName): Promise<Round | null> {
    try {
      const marker = Marker.parse(JSON.parse(readFileSync(this.#markerOf(roundText(name)), 'utf8')));
      const { own, isReadOnly } = await this.#look(this.folderOf({ name }));
      if (compareRounds(marker.name, name) !== 0 || own !== marker.own || !isReadOnly) return null;
      return {
        part: this.part,
        name,
        atMs: marker.atMs,
        wallMs: marker.wallMs,
        uuid: marker.uuid,
        parent: marker.parent,
      };
    } catch {
      return null; // No marker, half of one, or no subvolume: no round.
    }
  }

  #markerOf(text: string): string {
    return join(this.#mount, 'markers', `${text}.json`);
  }

  #incoming(): string[] {
    return readdirSync(join(this.#mount, 'incoming')).map((entry) => join(this.#mount, 'incoming', entry));
  }

  /** `sync -f` alone tells of data that were lost; `btrfs filesystem sync` says 0 over them. */
  #sync(): Promise<void> {
    const next = this.#syncing.then(async () => {
      await this.#tools.run('sync', ['-f', this.#mount]);
    });
    this.#syncing = next.catch(() => {});
    return next;
  }

  async #look(path: string): Promise<Subvolume> {
    const text = await this.#tools.run('btrfs', ['subvolume', 'show', path]);
    const field = (name: string): string => new RegExp(`^\\s*${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
    const received = field('Received UUID');
    return {
      own: field('UUID'),
      received: received === '-' || received === '' ? null : received,
      generation: Number(field('Generation')),
      isReadOnly: /^\s*Flags:.*\breadonly\b/m.test(text),
    };
  }

  #refuseImplausible(folder: string): void {
    let found: string | null = null;
    try {
      found = readFileSync(join(folder, dataMarker), 'utf8');
    } catch {}
    if (found !== this.#dataId)
      throw new ReplicaProblem(
        found === null ? 'these data carry no marker of ours' : 'these are the data of another mesh',
        `nothing older is thinned until somebody looked: ls -la ${this.live}`,
      );
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
    const subvolumes = there.map((folder) => join(folder, 'hot')).filter((path) => existsSync(path));
    if (subvolumes.length > 0) {
      await this.#tools.run('btrfs', ['subvolume', 'delete', '--commit-after', ...subvolumes]);
      await this.#tools.run('btrfs', ['subvolume', 'sync', this.#mount]);
      await this.#tools.run('btrfs', ['filesystem', 'sync', this.#mount]);
    }
    for (const folder of there) rmdirSync(folder);
  }

  /** Rounds that somebody has mounted, in whatever namespace: a delete would succeed under a running reader. */
  #heldFolders(): Set<string> {
    const device = mountsOf('self').find((one) => one.point === this.#mount)?.source;
    const held = new Set<string>();
    if (device === undefined) return held;
    for (const { mount } of holdersOf(device)) {
      const [, folder, text] = mount.root.split('/');
      if (folder === 'rounds' && text !== undefined) held.add(text);
    }
    return held;
  }
}
