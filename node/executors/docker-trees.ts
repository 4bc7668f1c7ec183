import type Docker from 'dockerode';
import type { HostConfig } from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Disk } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { ExecutorSpec, InTree, KeptTree, TreeWish } from '../ports.ts';
import { containerName, labels, volumeAt } from './docker-container.ts';
import { diskOfVolume, volumeBytes } from './docker-disk.ts';
import { statusOf } from './docker-engine.ts';
import { removeContainers } from './docker-removal.ts';
import { GitContainer } from './git-container.ts';
import { ensureGitImage, gitLimits } from './git-image.ts';
import { emptied } from './in-tree.ts';
import { KeptTrees, type TreeLimits } from './kept-trees.ts';
import { TreeKeeper, untilFree } from './tree-keeper.ts';

interface TreesOptions {
  node: string;
  /** Null: nothing is kept. */
  home: string | null;
  docker(): Promise<Docker>;
  /** The engine runs what this machine's programs are made for. */
  isLocal: boolean;
  limits: TreeLimits;
  log: Pick<Log, 'info' | 'warn'>;
  wallMs(): number;
}

type User = { uid: number; gid: number };

const measureMs = 120_000;
const root: User = { uid: 0, gid: 0 };

const emptying = `rm -rf -- ./* ./.[!.]* ./..?*; chown "$1" .`;

/** Trees of projects as volumes, which the containers of their jobs have in turn at their project's path. */
export class DockerTrees {
  readonly #options: TreesOptions;
  readonly #trees: KeptTrees;
  /** By key: the run that has it. */
  readonly #users = new Map<string, string>();
  /** Keys of those whose run could not be removed: that may take minutes, for which no other job waits. */
  readonly #stuck = new Set<string>();
  readonly #keeper: TreeKeeper;
  #isTidying = false;

  constructor(options: TreesOptions) {
    this.#options = options;
    this.#trees = new KeptTrees(options.home, 'docker');
    this.#keeper = new TreeKeeper({
      ...options,
      trees: this.#trees,
      isTaken: (key) => this.#users.has(key),
      remove: (key) => this.#removeVolume(key),
    });
  }

  /** Null: the run's tree goes with its container. */
  async take(spec: ExecutorSpec, signal: AbortSignal): Promise<DockerTree | null> {
    const { run, tree } = spec;
    const { home, isLocal, limits, log } = this.#options;
    if (!tree?.isKept || home === null || !isLocal || limits.limitBytes === 0) return null;
    if (tree.isOnlyLeft && this.#trees.get(tree.key) === null) return null;
    const isTaken = (): boolean => (this.#users.get(tree.key) ?? run) !== run;
    if (!(await untilFree(isTaken, signal, () => this.#stuck.has(tree.key)))) return null;
    // From here on nothing else removes it.
    this.#users.set(tree.key, run);
    await this.#keeper.untilRemoved(tree.key);
    try {
      const docker = await this.#options.docker();
      const image = await ensureGitImage(docker);
      // Of an agent that was killed while git worked in it, for this run or for one that was not taken again: its name would be taken, and
      // it may still write.
      const having = await docker.listContainers({ all: true, filters: { volume: [this.#volume(tree.key)] } });
      const gits = having.filter(({ Labels }) => Labels[labels.helper] === 'git');
      await removeContainers(
        docker,
        gits.map(({ Id }) => Id),
      );
      // A run that nobody could remove: what it has running beside it could still write there.
      const others = having.filter((one) => !gits.includes(one));
      if (others.some(({ Labels }) => Labels[labels.run] !== run))
        throw new AutogitError('executor-failed', 'containers of a job before it still have the tree');
      const left = this.#trees.get(tree.key);
      const isLeft = left !== null && left.project === tree.project && !tree.isFresh;
      if (!isLeft) await this.#keeper.remove(tree.key);
      const [volume, Labels] = [this.#volume(tree.key), this.#labels(tree.key)];
      await docker.createVolume({ Name: volume, Labels });
      const limits = gitLimits(spec);
      const of = { docker, image, volume, wish: tree, run, limits, store: this, left: isLeft ? left : null };
      const taken = new DockerTree(of);
      if (!tree.isOnlyLeft) taken.begin();
      return taken;
    } catch (error) {
      this.#users.delete(tree.key);
      if (signal.aborted) throw error;
      log.warn(`no tree is kept for job ${run}: ${sentenceOf(error)}`);
      return null;
    }
  }

  /** Of a container that an agent process before this one made. */
  async adopt(run: string, key: string | undefined, project: string | undefined): Promise<DockerTree | null> {
    if (key === undefined || project === undefined) return null;
    this.#users.set(key, run);
    const docker = await this.#options.docker();
    const wish = { key, project, isKept: true, isFresh: false, isOnlyLeft: false };
    const limits = gitLimits({ cpuMillis: null, memoryBytes: null });
    return new DockerTree({ docker, image: '', volume: this.#volume(key), wish, run, limits, store: this, left: null });
  }

  /** Labels of the containers in which git works for a run, by which a sweep finds them. */
  gitLabels(run: string): Record<string, string> {
    return { [labels.node]: this.#options.node, [labels.run]: run, [labels.helper]: 'git' };
  }

  /** Its run's container could not be removed, and may write to it still. */
  stuck(run: string, key: string): void {
    if (this.#users.get(key) === run) this.#stuck.add(key);
  }

  /** Its run's container is gone. `owner` null: it is not kept. Never throws. */
  async give(run: string, { key, project }: TreeWish, owner: User | null): Promise<void> {
    // Given back already, by a try to remove the run that failed later: another run may have it by now.
    if (this.#users.get(key) !== run) return;
    if (owner) this.#trees.set(key, { project, ...owner, usedAt: this.#options.wallMs(), bytes: null });
    else await this.#keeper.remove(key).catch(() => undefined);
    this.#users.delete(key);
    this.#stuck.delete(key);
    void this.tidy().catch(() => undefined);
  }

  /** Measures what is new, and removes what goes, and what no record names. */
  async tidy(): Promise<void> {
    if (this.#isTidying || this.#options.home === null) return;
    this.#isTidying = true;
    try {
      await this.#tidy();
    } finally {
      this.#isTidying = false;
    }
  }

  /** All that no run has now. False where there was none. */
  giveBack(): Promise<boolean> {
    return this.#keeper.giveBack();
  }

  async #tidy(): Promise<void> {
    const { docker, node } = this.#options;
    const engine = await docker();
    const filters = { label: [`${labels.node}=${node}`, labels.tree] };
    const { Volumes } = await engine.listVolumes({ filters });
    let disk: Disk | null = null;
    for (const { Name, Mountpoint, Labels } of Volumes ?? []) {
      const key = Labels?.[labels.tree] ?? '';
      if (Name !== this.#volume(key) || this.#users.has(key)) continue;
      if (this.#trees.get(key) === null) await this.#keeper.isRemoved(key);
      else await this.#keeper.measure(key, () => volumeBytes(engine, Name, Mountpoint, measureMs));
      disk ??= await diskOfVolume(Mountpoint);
    }
    await this.#keeper.thin(disk);
  }

  async #removeVolume(key: string): Promise<void> {
    const docker = await this.#options.docker();
    try {
      await docker.getVolume(this.#volume(key)).remove();
    } catch (cause) {
      if (statusOf(cause) !== 404) throw cause;
    }
  }

  #volume(key: string): string {
    return `autogit-${this.#options.node.replace(/[^A-Za-z0-9_.-]/g, '-').slice(-40)}-tree-${key}`;
  }

  #labels(key: string): Record<string, string> {
    return { [labels.node]: this.#options.node, [labels.tree]: key };
  }
}

interface TreeOf {
  docker: Docker;
  image: string;
  volume: string;
  wish: TreeWish;
  run: string;
  limits: HostConfig;
  store: DockerTrees;
  /** Who owns what a job before left in it; null: it is empty. */
  left: User | null;
}

let counter = 0;

/** A project's tree in a volume, for the run that has it. */
export class DockerTree implements KeptTree {
  readonly #of: TreeOf;
  /** Null until it is known whose container has it. */
  #user: User | null = null;
  #isKept = true;
  /** Containers of git that are not gone yet. */
  readonly #open = new Set<Promise<unknown>>();
  /** The one that waits for what git is to do. */
  #begun: Promise<GitContainer> | null = null;
  isLeft: boolean;

  constructor(of: TreeOf) {
    this.#of = of;
    this.isLeft = of.left !== null;
  }

  /** As the job's container has it, at the project's path. */
  options(projectDir: string): { mount: Docker.MountSettings; labels: Record<string, string> } {
    const { volume, wish } = this.#of;
    return {
      mount: volumeAt(volume, projectDir),
      labels: { [labels.tree]: wish.key, [labels.treeProject]: wish.project },
    };
  }

  /** Whose container it is in; what belonged to another user is of no use. */
  async ownedBy(user: User): Promise<void> {
    this.#user = user;
    const { left } = this.#of;
    this.isLeft = left !== null && left.uid === user.uid && left.gid === user.gid;
    if (!this.isLeft) this.#drop();
    if (this.isLeft || (left === null && user.uid === 0 && user.gid === 0)) return;
    await this.empty().catch((cause: unknown) => {
      // What is another's in it must not be found as this one's.
      this.#isKept = false;
      throw cause;
    });
  }

  /** It is in the container of an earlier agent process, or of a call that was not answered: git has nothing to do there. */
  adoptedBy(user: User): void {
    this.#user = user;
    this.#drop();
  }

  isOf(key: string | undefined): boolean {
    return this.#of.wish.key === key;
  }

  run(script: string, args: string[], environment: Record<string, string>, signal: AbortSignal): Promise<InTree> {
    return this.#run(script, args, environment, this.#user ?? root, signal);
  }

  /** Begins what git is to work in, beside all else that is made for the job. Where that fails, it is begun when it is needed. */
  begin(): void {
    const { left } = this.#of;
    if (left === null) return;
    this.#begun = this.#begin(left);
    this.#begun.catch(() => undefined);
  }

  async empty(): Promise<void> {
    const { uid, gid } = this.#user ?? root;
    const { signal } = new AbortController();
    this.#drop();
    await emptied(await this.#run(emptying, [`${uid}:${gid}`], {}, root, signal));
  }

  async forget(): Promise<void> {
    this.#isKept = false;
    this.#drop();
  }

  /** The container that had it is gone. */
  async give(): Promise<void> {
    const { store, wish, run } = this.#of;
    this.#drop();
    await Promise.all(this.#open);
    // Of a job that got no container it is as the one before left it, and still that one's.
    const owner = this.#user ?? this.#of.left;
    return store.give(run, wish, this.#isKept && owner ? { uid: owner.uid, gid: owner.gid } : null);
  }

  /** The container that had it could not be removed. */
  stuck(): void {
    this.#of.store.stuck(this.#of.run, this.#of.wish.key);
  }

  /** In a container of its own, which has this tree and git, and nothing else. */
  async #run(
    script: string,
    args: string[],
    environment: Record<string, string>,
    user: User,
    signal: AbortSignal,
  ): Promise<InTree> {
    signal.throwIfAborted();
    const begun = await this.#taken(user);
    const container = begun ?? (await this.#begin(user));
    if (signal.aborted) {
      await container.remove();
      signal.throwIfAborted();
    }
    return container.run(script, args, environment, signal);
  }

  async #taken({ uid, gid }: User): Promise<GitContainer | null> {
    const begun = this.#begun;
    this.#begun = null;
    const container = (await begun?.catch(() => null)) ?? null;
    if (container === null || (container.user.uid === uid && container.user.gid === gid)) return container;
    await container.remove();
    return null;
  }

  async #begin({ uid, gid }: User): Promise<GitContainer> {
    const { docker, image, volume, run, limits, store } = this.#of;
    const name = `${containerName(run)}-git-${++counter}`;
    const container = GitContainer.begin({
      ...{ docker, image, volume, limits, name, user: { uid, gid } },
      labels: store.gitLabels(run),
    });
    const gone = container.then(
      (begun) => begun.gone,
      () => undefined,
    );
    this.#open.add(gone);
    void gone.then(() => this.#open.delete(gone));
    return container;
  }

  /** Nobody needs it. */
  #drop(): void {
    void this.#begun?.then((begun) => begun.remove()).catch(() => undefined);
    this.#begun = null;
  }
}
