import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { GitlabSeen, StandbySeen } from '../../protocol/report.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import type { Clock } from '../clock.ts';
import type { GitlabClones } from '../hosting/clone/gitlab-clones.ts';
import type { DataPlace } from '../hosting/data-place.ts';
import type { Drillable } from '../hosting/drill/drill-master.ts';
import { makeGateFolder, pushSocketIn } from '../hosting/gate/gate-files.ts';
import type { PlaceAt } from '../hosting/place-choice.ts';
import { openPlace, removePlace } from '../hosting/place-making.ts';
import { copiesOf, treeOf } from '../hosting/place-tree.ts';
import { HookDoor } from '../hosting/push/hook-door.ts';
import { hookSocket, putHooks } from '../hosting/push/push-hook.ts';
import { keepRefusal } from '../hosting/push/push-refusal.ts';
import { BtrfsReplica } from '../hosting/replica/btrfs-replica.ts';
import { standbyPlace } from '../hosting/replica/copies-place.ts';
import { KeptCopies } from '../hosting/replica/kept-copies.ts';
import { PinFile } from '../hosting/replica/pin-file.ts';
import { replicaTools } from '../hosting/replica/replica-tools.ts';
import { RoundDisk } from '../hosting/replica/round-disk.ts';
import { RoundHost } from '../hosting/replica/round-host.ts';
import type { RoundPromise } from '../hosting/replica/round-promise.ts';
import { whyUnprotected } from '../hosting/replica/unprotected.ts';
import type { RoundKeeper } from '../hosting/vault/round-bringing.ts';
import { openCopyDoor } from '../hosting/wire/copy-door.ts';
import { CopyLine } from '../hosting/wire/copy-line.ts';
import { GiveLine } from '../hosting/wire/give-line.ts';
import { RateLimit } from '../hosting/wire/polite-sender.ts';
import { Turns } from '../hosting/wire/turns.ts';
import type { Log } from '../log.ts';
import { copyDoorAt } from './copy-door-at.ts';
import { WaitingPushes } from './waiting-pushes.ts';

interface CopiesRoomOptions {
  nodeId: NodeId;
  home: string;
  clock: Clock;
  /** Most that is sent a second of whole copies and bulk, to all standbys together. */
  copyRateBytes: number | null;
  log: Log;
  network: {
    ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
    /** host:port of where it is connected now. */
    addressOf(node: NodeId): string | null;
  };
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  feed(happened: Happened): void;
  /** What this machine says of its drills, of what it boots beside, and of what it keeps of before. */
  besides(): Pick<StandbySeen, 'drill' | 'beside' | 'fenced' | 'unkept'>;
  /** Why the GitLab that runs here takes no push now, for the pusher's terminal; null while it takes each. */
  whyNoPush(): string | null;
  /** What else is at what lies in the place ends. */
  endUse(): Promise<void>;
  /** That GitLab's place is in the hands of who runs it here. */
  isHosted(data: string): boolean;
  /** A clone holds its place's mount, and an earlier agent may have left one. */
  clones: Pick<GitlabClones, 'sweepLeft' | 'isKept'>;
}

interface OpenHosting {
  hosting: Hosting;
  place: DataPlace;
}

const noCopies = { newest: null, arePushesSafe: false, safeUntil: null, standbys: [] };
const beginAgainMs = 5000;
const folderFix = 'a plain folder takes no snapshots: deploy GitLab as root, on btrfs or with btrfs-progs installed';

/**
 * Copies of the mesh's GitLab, at both ends: on its host rounds are made and brought to the standbys while its data place is
 * open; a standby holds what it is brought. Between them lies a connection of its own (node/hosting/wire).
 */
export class CopiesRoom {
  readonly #options: CopiesRoomOptions;
  readonly #kept: KeptCopies;
  readonly #stopped = new AbortController();
  /** Of this agent process: what one of before asked for in the ledger is void by it. */
  readonly #boot = randomBytes(8).toString('hex');
  readonly #lines = new Map<NodeId, CopyLine>();
  /** What this machine sends of GitLab, whatever for, goes by these. */
  readonly turns = new Turns();
  readonly limit: RateLimit;
  /** Whom hooks and gate ask. */
  readonly pushes: WaitingPushes;
  #open: OpenHosting | null = null;
  #host: RoundHost | null = null;
  #problem: string | null = null;
  /** Open as long as GitLab's data place is: its hook and its gate ask there. */
  #door: HookDoor | null = null;
  /** Beginning and ending of the host's side, one after the other. */
  #acts: Promise<void> = Promise.resolve();

  constructor(options: CopiesRoomOptions) {
    this.#options = options;
    const { nodeId, home, log, ledger, feed } = options;
    this.limit = new RateLimit(options.copyRateBytes);
    this.pushes = new WaitingPushes({
      host: () => this.#host,
      problem: () => this.#problem,
      hosting: () => this.#hosting(),
      change: (change) => options.change(change),
      stopped: this.#stopped.signal,
    });
    const ownerOf = ({ data, epoch }: Hosting) => ({ mesh: ledger()?.mesh.id ?? '', data, epoch });
    this.#kept = new KeptCopies({
      ...{ self: nodeId, home, log, ledger, besides: () => options.besides() },
      isHosted: (data) => options.isHosted(data),
      openPlace: async (hosting, { path, isNoted }) => {
        const { place, room } = standbyPlace(path, ownerOf(hosting));
        const create = isNoted ? null : room;
        const open = await openPlace(place, { ...ownerOf(hosting), create, role: 'standby' });
        await this.#endClone(open);
        return open;
      },
      beforeClose: (place) => this.#endClone(place),
      removePlace: async (hosting, folder) => {
        const { place } = standbyPlace(folder, ownerOf(hosting));
        await removePlace(place, ownerOf(hosting), { deleteData: true });
      },
      report: (report) => feed({ kind: 'standby-seen', report }),
    });
  }

  start(): void {
    this.#kept.start();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all([this.ends(), this.#kept.stop()]);
  }

  /** The mesh has removed this machine. */
  removed(): void {
    this.#kept.removed();
  }

  ledgerChanged(): void {
    this.#kept.ledgerChanged();
    // After a recovery by force the same epoch is another's: its rounds need names of their own.
    if (this.#host !== null && this.#host.era !== this.#options.ledger()?.era.counter)
      void this.#act(() => this.#end());
    this.#host?.ledgerChanged();
    this.#begin();
  }

  /** GitLab's data place is open on this machine. */
  opened(hosting: Hosting, place: DataPlace): void {
    this.#open = { hosting, place };
    void this.#endClone(place);
    this.#begin();
  }

  /** Whoever runs that GitLab here is about to open its place: what this machine held as copies of it is closed, with what uses it. */
  async freed({ data, place }: Hosting): Promise<void> {
    await this.#kept.freed(data);
    // An agent that ended may have left a clone on what it held.
    if (this.#open === null) await this.#options.clones.sweepLeft(this.#options.ledger()?.mesh.id ?? '', place);
  }

  /** It is about to be closed, or let go. */
  async ends(): Promise<void> {
    const { place } = this.#open ?? { place: null };
    this.#open = null;
    await this.#act(() => this.#end());
    if (place !== null) await this.#endClone(place);
  }

  /** An engine that is away keeps no place from being used: what is left is looked for again soon, and before the next clone. True: one is to serve. */
  async #endClone(place: DataPlace): Promise<boolean> {
    const { clones, ledger, endUse } = this.#options;
    await Promise.all([endUse(), clones.sweepLeft(ledger()?.mesh.id ?? '', place)]);
    return clones.isKept;
  }

  /** Whoever waits at the door asks again, at the next one. */
  async #end(): Promise<void> {
    const { host, door } = { host: this.#host, door: this.#door };
    this.#door = null;
    await door?.close();
    this.#host = null;
    const stopping = host?.stop();
    // It waits for what its lines do, and one to a machine that does not answer would be waited for.
    for (const line of this.#lines.values()) line.close();
    this.#lines.clear();
    await stopping;
  }

  /** What GitLab could be tried from here: the newest round of a standby, or on its host the living data. */
  drillable(): Drillable | null {
    if (this.#open === null) return this.#kept.drillable();
    const { hosting, place } = this.#open;
    if (place.kind === 'folder') return null;
    const tree = treeOf(place);
    return { hosting, place, source: { hot: join(tree, 'live'), bulk: join(tree, 'bulk') }, round: null };
  }

  promise = (data: string, epoch: number): Promise<RoundPromise> => this.#kept.promise(data, epoch);

  /** For the host's own word on its GitLab. */
  seen(): Pick<GitlabSeen, 'copies'> {
    if (this.#host !== null) return { copies: this.#host.seen() };
    if (this.#problem === null) return {};
    return { copies: { ...noCopies, problem: this.#problem } };
  }

  /** Where this machine's copies of that GitLab lie, while they are open; in words why not. */
  heldAt(data: string): PlaceAt | { problem: string } {
    return this.#kept.heldAt(data);
  }

  /** GitLab has ended: one round more, in any case. Rejects while no round can be made here. */
  lastRound(): Promise<RoundName> {
    if (this.#host === null) throw new AutogitError('data-place', this.#problem ?? 'copies begin in a moment');
    return this.#host.lastRound();
  }

  /** The newest round from that one on that is whole on that machine's disk; null while none is. */
  arrived(node: NodeId, from: RoundName): RoundName | null {
    return this.#host?.arrived(node, from) ?? null;
  }

  /** Why pushes are not on that machine, or not all is in what is copied; null where both are so. */
  lacks(node: NodeId): string | null {
    if (this.#host === null) return this.#problem ?? 'copies begin in a moment';
    const isInSync = this.#copies()?.set.members.includes(node) === true;
    return isInSync ? this.#host.seen().problem : `${nodeName(this.#options.ledger(), node)} is not in sync yet`;
  }

  /** It has the newest round of artifacts and packages, of which no push waits. */
  hasBulk(node: NodeId): boolean {
    return this.#host?.hasBulk(node) === true;
  }

  /** Which rounds other machines hold, while this one makes rounds. */
  holders(): { name: string; rounds: readonly RoundName[] }[] {
    return this.#host?.holders() ?? [];
  }

  /** Who may have a round of what is hosted here that this machine lacks. */
  roundKeepers(): RoundKeeper[] {
    const hosting = this.#hosting();
    const { nodeId, ledger } = this.#options;
    const others = (hosting?.copies?.standbys ?? []).filter(({ node }) => node !== nodeId);
    return others.map(({ node }) => ({
      name: nodeName(ledger(), node),
      line: new GiveLine(() => copyDoorAt(node, hosting as Hosting, this.#options.network)),
    }));
  }

  async answer(from: NodeId, { data, epoch }: Ask & { kind: 'open-copy-door' }): Promise<Answer> {
    const because = this.#kept.whyNot(from, data, epoch);
    if (because !== null) return { kind: 'refused', because: asSentence(because) };
    const { turns, limit } = this;
    const giving = { giver: this.#kept.giverFor(from), turns, limit };
    return { kind: 'copy-door', ...(await openCopyDoor(this.#kept.takerFor(from), this.#stopped.signal, giving)) };
  }

  /** Null where the ledger names another host, or none. */
  #hosting(): Hosting | null {
    const hosting = hostingOf(this.#options.ledger());
    return hosting?.host === this.#options.nodeId ? hosting : null;
  }

  #copies() {
    return this.#hosting()?.copies ?? null;
  }

  #act(act: () => Promise<void>): Promise<void> {
    const next = this.#acts.then(act);
    this.#acts = next.catch((error) => {
      this.#fails(sentenceOf(error));
      // Pushes wait meanwhile.
      setTimeout(() => this.#begin(), beginAgainMs).unref();
    });
    return this.#acts;
  }

  #fails(problem: string | null): void {
    if (problem !== null && problem !== this.#problem) this.#options.log.warn(`copies of GitLab: ${problem}`);
    this.#problem = problem === null ? null : asSentence(problem);
  }

  /** As soon as somebody was asked to hold copies of what lies here. */
  #begin(): void {
    void this.#act(async () => {
      const open = this.#open;
      if (open === null) return;
      const { home, whyNoPush } = this.#options;
      if (this.#door === null) await putHooks(home);
      this.#door ??= await HookDoor.open(
        [hookSocket(home), pushSocketIn(makeGateFolder(home))],
        this.pushes,
        whyNoPush,
      );
      if (this.#hosting() !== null) keepRefusal(this.#options);
      if (this.#host !== null || this.#copies() === null) return;
      if (open.place.kind === 'folder') return this.#fails(`${open.place.path}: ${folderFix}`);
      this.#host = await this.#hostOf(open);
      this.#fails(null);
      this.#host.start();
    });
  }

  async #hostOf({ hosting, place }: OpenHosting): Promise<RoundHost> {
    const { nodeId, clock, log, ledger, change } = this.#options;
    const { data, epoch } = hosting;
    const known = ledger() as Ledger;
    const tree = treeOf(place);
    const disk = new RoundDisk(tree, replicaTools);
    const parts = {
      owner: { mesh: known.mesh.id, data },
      disk,
      tools: replicaTools,
      isOwners: place.kind === 'subvolume',
    };
    const [hot, bulk] = [new BtrfsReplica('hot', tree, parts), new BtrfsReplica('bulk', tree, parts)];
    await hot.open();
    await bulk.open();
    return new RoundHost({
      ...{ self: nodeId, era: known.era.counter, epoch, data, boot: this.#boot, hot, bulk, disk, change, clock, log },
      pins: new PinFile(`${copiesOf(tree)}/pins.json`, replicaTools),
      standby: (node) => this.#lineTo(node, hosting),
      nameOf: (node) => nodeName(ledger(), node),
      copies: () => this.#copies(),
      isHost: () => this.#hosting()?.data === data && this.#hosting()?.epoch === epoch,
      unprotected: () => whyUnprotected([hot.live, bulk.live], replicaTools),
    });
  }

  #lineTo(node: NodeId, hosting: Hosting): CopyLine {
    this.#lines.get(node)?.close();
    const line = new CopyLine(node, () => copyDoorAt(node, hosting, this.#options.network), this.turns, this.limit);
    this.#lines.set(node, line);
    return line;
  }
}
