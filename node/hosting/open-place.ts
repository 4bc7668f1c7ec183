import { existsSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { diskOf } from '../disk-use.ts';
import { showBytes } from '../settings/quantities.ts';
import { makeFolder } from '../store/home.ts';
import { type DataFolders, type DataPlace, insideContainer } from './data-place.ts';
import type { HostMounts } from './host-mounts.ts';
import type { LoopImage } from './loop-image.ts';
import { isSeenBy } from './mount-table.ts';
import type { PlaceAt } from './place-choice.ts';
import { placeProblem } from './place-problem.ts';
import { checkMarker, type DataOwner, type PlaceClaim, writeClaim } from './place-records.ts';
import { holdsCopiesOnly, mountPointOf, onlyCopies, treeOf } from './place-tree.ts';
import type { SystemTools } from './system-tools.ts';
import { versionIn } from './vault/kept-rounds.ts';

/** With less, PostgreSQL ends itself within minutes. */
const leastFreeBytes = 64 << 20;
const growsMost = 3;
/** An image grows by a tenth of itself when less than that is free in it, and by this at least. */
const leastStepBytes = 1 << 30;
const probeFile = '.autogit-probe';

interface PlaceParts {
  image: LoopImage | null;
  mounts: HostMounts;
  tools: SystemTools;
  claim: PlaceClaim;
  role: 'host' | 'standby';
}

export class OpenPlace implements DataPlace {
  readonly kind: PlaceAt['kind'];
  readonly path: string;
  readonly folders: DataFolders;
  readonly notices: string[] = [];
  /** What is written to and measured: the data, or what lies there of them. */
  readonly #own: string;
  readonly #owner: DataOwner;
  readonly #parts: PlaceParts;
  #claim: PlaceClaim;

  constructor(place: PlaceAt, owner: DataOwner, parts: PlaceParts) {
    this.kind = place.kind;
    this.path = place.path;
    this.#owner = owner;
    this.#parts = parts;
    this.#own = join(treeOf(place), parts.role === 'host' ? 'live/data' : 'copies');
    this.#claim = parts.claim;
    const tree = treeOf(place);
    this.folders = {
      config: join(tree, 'live', 'config'),
      data: join(tree, 'live', 'data'),
      bulk: join(tree, 'bulk'),
      logs: join(tree, 'logs'),
    };
  }

  async said(more: Partial<PlaceClaim>): Promise<void> {
    this.#claim = { ...this.#claim, ...more };
    await writeClaim(this.path, this.#claim, this.#parts.tools);
  }

  async attach(image: LoopImage): Promise<void> {
    const { mounts, tools } = this.#parts;
    const point = mountPointOf(this.path);
    const isThere = mounts.at(point) !== undefined;
    if (!isThere) {
      makeFolder(point, 0o700);
      // Nothing is ever written below a mount that is not there. Not every file system can; the marker is looked for anyway.
      await tools.run('chattr', ['+i', point]).catch(() => '');
      // btrfs keeps no sign of its own of how it was left.
      if (this.#claim.isMounted)
        this.notices.push(`${image.path} was not unmounted when this machine went down; btrfs took in what was synced`);
    }
    // What was said of closed data holds no more.
    await this.said({ isMounted: true, version: undefined, image: undefined });
    await image.attach(point, this.#parts.role, this.#claim.fsid);
    const errors = (await tools.run('btrfs', ['device', 'stats', point]))
      .split('\n')
      .flatMap((line) => /\.(\w+_errs)\s+([1-9]\d*)$/.exec(line.trim())?.slice(1, 3).join(' ') ?? []);
    if (errors.length > 0)
      this.notices.push(`${image.path} met errors of its disk (${errors.join(', ')}): btrfs scrub start -B ${point}`);
  }

  freeBytes(): number {
    // Of a machine that goes on with GitLab the data are made in a moment.
    return diskOf(statfsSync(existsSync(this.#own) ? this.#own : treeOf(this))).freeBytes;
  }

  async check(): Promise<void> {
    this.#checkMount();
    if (this.#parts.role === 'host') this.#checkData();
    await this.#probe();
    const free = this.freeBytes();
    if (free < leastFreeBytes)
      throw placeProblem(`${this.#own} is full: ${showBytes(free)} are free`, `make room in it: df -h ${this.#own}`);
  }

  #checkData(): void {
    const tree = treeOf(this);
    if (holdsCopiesOnly(tree)) throw placeProblem(...onlyCopies(this.path));
    checkMarker(this.folders.data, this.#owner, this.folders.data);
    for (const folder of Object.values(this.folders))
      if (!existsSync(folder))
        throw placeProblem(
          `${folder} is gone`,
          `bring it back from a copy, and start nothing before: ls -la ${this.path}`,
        );
  }

  checkInside(pid: number): void {
    for (const [what, inside] of Object.entries(insideContainer)) {
      const ours = statSync(this.folders[what as keyof DataFolders]);
      const theirs = statSync(`/proc/${pid}/root${inside}`, { throwIfNoEntry: false });
      if (theirs === undefined || theirs.dev !== ours.dev || theirs.ino !== ours.ino)
        throw placeProblem(
          `the container has something else at ${inside} than ${this.folders[what as keyof DataFolders]}`,
          `end it; the engine must see the machine's mounts: systemctl cat docker`,
        );
    }
    checkMarker(`/proc/${pid}/root${insideContainer.data}`, this.#owner, this.folders.data);
  }

  async tend(): Promise<string[]> {
    const { image } = this.#parts;
    const { reserveBytes } = this.#claim;
    try {
      if (image) {
        await image.allocate();
        const step = Math.max(leastStepBytes, Math.round(image.bytes / 10));
        if (this.freeBytes() < step) await image.grow(step, reserveBytes);
        return [];
      }
      const free = this.freeBytes();
      if (free >= reserveBytes) return [];
      return [
        `${this.path} has ${showBytes(free)} free, and ${showBytes(reserveBytes)} are to stay: df -h ${this.path}`,
      ];
    } catch (error) {
      return [error instanceof AutogitError ? `${error.message}; ${error.hint}` : sentenceOf(error)];
    }
  }

  async makeRoom(bytes: number): Promise<void> {
    const { image } = this.#parts;
    const { reserveBytes } = this.#claim;
    // A file system keeps a little of what it gains for itself, which shows only then.
    for (let tries = 0; image && tries < growsMost; tries += 1) {
      const missing = bytes + leastFreeBytes - this.freeBytes();
      if (missing <= 0) break;
      await image.grow(Math.ceil(missing / 2 ** 20) * 2 ** 20, reserveBytes);
    }
    const least = image ? leastFreeBytes : Math.max(leastFreeBytes, reserveBytes);
    if (this.freeBytes() - bytes < least)
      throw placeProblem(
        `${this.path} has ${showBytes(this.freeBytes())} free: ${showBytes(bytes)} more are needed beside what serves`,
        `make room there: df -h ${this.path}`,
      );
  }

  async withPrograms<T>(act: () => Promise<T>): Promise<T> {
    const { image, role } = this.#parts;
    if (image === null || role === 'host') return act();
    await image.mayRunPrograms(true);
    try {
      return await act();
    } finally {
      await image.mayRunPrograms(false);
    }
  }

  async letGo(): Promise<void> {
    await this.#parts.image?.letGo();
  }

  async close(ran?: string): Promise<void> {
    const { image, role } = this.#parts;
    if (!image) return;
    // Whoever deploys on them again reads it without mounting them, also where somebody holds the image for a while yet, and this is tried again.
    const live = join(treeOf(this), 'live');
    // One to which GitLab moved was opened before they were made.
    if (role === 'host' && existsSync(live))
      await this.said({ role, version: versionIn(live), ...(ran && { image: ran }) });
    await image.detach();
    await this.said({ isMounted: false });
  }

  #checkMount(): void {
    const { image, mounts } = this.#parts;
    if (!image) return;
    const point = mountPointOf(this.path);
    const mount = mounts.at(point);
    if (mount === undefined || mount.source !== image.device)
      throw placeProblem(
        `${image.path} is not mounted at ${point}`,
        'the agent mounts it before it starts GitLab; what holds it up is shown by: autogit-node gitlab',
      );
    if (mount.isReadOnly)
      throw placeProblem(
        `${point} is read-only, after an error of the disk below it`,
        `see which, then end the container, so that it can be mounted anew: dmesg | tail`,
      );
    const engine = this.#parts.role === 'host' ? enginePid() : null;
    if (engine !== null && !isSeenBy(engine, point))
      throw placeProblem(
        `the engine has mounts of its own and does not see ${point}`,
        'its service must have no private mounts (PrivateTmp, ProtectSystem, …): systemctl cat docker',
      );
  }

  /** One write to the disk: full, read-only and not ours are told by what it answers. */
  async #probe(): Promise<void> {
    const path = join(this.#own, probeFile);
    try {
      await this.#parts.tools.write(path, 'probe');
      rmSync(path);
    } catch (error) {
      rmSync(path, { force: true });
      const { code } = error as NodeJS.ErrnoException;
      const why =
        code === 'ENOSPC' || code === 'EDQUOT'
          ? (['is full', `make room in it: df -h ${this.#own}`] as const)
          : code === 'EROFS'
            ? (['is read-only', `make it writable: findmnt -T ${this.#own}`] as const)
            : ([`cannot be written: ${sentenceOf(error)}`, 'look at the disk: dmesg | tail'] as const);
      throw placeProblem(`${this.#own} ${why[0]}`, why[1], error);
    }
  }
}

/** The engine's, where it is one of this machine and says so; null else. */
function enginePid(): number | null {
  try {
    const pid = Number(readFileSync('/var/run/docker.pid', 'utf8'));
    return Number.isInteger(pid) && existsSync(`/proc/${pid}/root`) ? pid : null;
  } catch {
    return null;
  }
}
