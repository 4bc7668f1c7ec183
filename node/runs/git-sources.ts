import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { KeptTree } from '../ports.ts';
import { foreignAddress } from './foreign-address.ts';
import { plain, SourcesFailure } from './git-command.ts';
import { gitHere } from './git-here.ts';
import { thinLfs } from './git-lfs.ts';
import {
  halfFetchedMs,
  hasPipeline,
  isLargeMirror,
  isMaintenanceDue,
  isUnused,
  maintainMirror,
  refreshMirror,
  refreshModule,
  touchMirror,
} from './git-mirror.ts';
import { bringSubmodules } from './git-submodules.ts';
import { checkOut } from './git-tree.ts';
import { type LaidRepository, lfsFiles } from './lfs-files.ts';
import { removeHalfFetched } from './sources-room.ts';
import type { SourcesSpec } from './sources-spec.ts';
import { tarFolder } from './tar-folder.ts';
import { BadCleanFlags, treeConfig, updateInPlace } from './tree-in-place.ts';

export { SourcesFailure } from './git-command.ts';

interface Sources {
  /** What is to be put into the place; null: all is there. */
  tar: Readable | null;
  /** What was checked out, in a sentence for the trace. */
  sentence: string;
  /** To be put over it then: the files that it, and each of its submodules, has in Git LFS. */
  lfs: Readable[];
  /** What became of its submodules, a line each. */
  said: string[];
  remove(): Promise<void>;
}

/** Sources before what they have in Git LFS. */
interface Laid extends Omit<Sources, 'lfs'> {
  modules: LaidRepository[];
}

/** A job's sources, on their way from a mirror into a tree. */
interface Wanted {
  spec: SourcesSpec;
  /** Of the repository, as this machine reaches it. */
  address: string;
  mirror: string;
  /** The mirror of a repository, by the address or its path; it is held until the tree is made. */
  hold(place: string): string;
  signal: AbortSignal;
}

/** The tree that the last job of the project left in the place, and what becomes of it. */
interface KeptSources {
  tree: KeptTree;
  cleanFlags: string[] | null;
  /** Files that git does not track are wanted again: it is used however small the repository is. */
  keepsFiles: boolean;
}

/** How long GitLab may be silent in a fetch; doubled each time that it was, for one that is slow rather than away. */
const silenceMs = { first: 15_000, most: 5 * 60_000 } as const;
/** Below it a new tree is as quick as one that is brought up to date, and nothing of it has to be kept. */
const largeBytes = 32 << 20;

/**
 * A job's sources, fetched by the machine's git. It works only where no job can write: a bare mirror per project under
 * `mirrors/`, and a private folder in which the tree is checked out before any job sees it; the job gets a tar of that.
 * What a commit holds is read from the mirror by git, never by a path of the tree: a link in it would lead anywhere on
 * this machine. Tokens travel in the environment, never in an argument list, and are kept in no file.
 */
export class GitSources {
  readonly #folder: string;
  /** One fetch at a time into a mirror. */
  readonly #queues = new Map<string, Promise<unknown>>();
  /** Jobs that need a mirror as it is now. */
  readonly #users = new Map<string, number>();
  readonly #silences = new Map<string, number>();
  readonly #closing = new AbortController();
  #maintenance: Promise<void> | null = null;

  readonly #silenceMs: number;
  readonly #largeBytes: number;

  constructor(home: string, firstSilenceMs: number = silenceMs.first, large: number = largeBytes) {
    this.#silenceMs = firstSilenceMs;
    this.#largeBytes = large;
    this.#folder = join(home, 'mirrors');
  }

  /** Whether this machine's git works, in words. Throws AutogitError `unsupported`. */
  check(): Promise<string> {
    return gitHere.check();
  }

  /** Whether a tree of the repository is worth keeping; where that is not known yet, it may be. */
  async isLarge(repoUrl: string): Promise<boolean> {
    if (!URL.canParse(repoUrl)) return false;
    const mirror = this.#mirrorAt(new URL(repoUrl).pathname);
    return !existsSync(join(mirror, 'HEAD')) || (await isLargeMirror(mirror, this.#largeBytes));
  }

  /**
   * `kept`: a place that keeps its tree. Throws SourcesFailure, or AutogitError `unsupported` without a git that works.
   */
  async fetch(spec: SourcesSpec, signal: AbortSignal, kept: KeptSources | null = null): Promise<Sources> {
    const address = addressOf(spec);
    await this.check();
    const held: string[] = [];
    const hold = (place: string): string => {
      const mirror = this.#mirrorAt(place);
      this.#users.set(mirror, (this.#users.get(mirror) ?? 0) + 1);
      held.push(mirror);
      return mirror;
    };
    try {
      const mirror = hold(new URL(address).pathname);
      const wanted = { mirror, address, spec, hold, signal };
      const mirrored = this.#refresh(mirror, address, spec, signal);
      mirrored.catch(() => undefined);
      // Git begins in the tree while GitLab is asked, but where that was away a moment ago.
      const isEarly = kept !== null && !this.#silences.has(mirror) && (await this.#isUsed(kept, mirror));
      if (!isEarly) await mirrored;
      const laid = (kept && (await this.#inPlace(kept, wanted, mirrored))) ?? (await this.#tree(wanted));
      return await this.#withLfs(laid, wanted);
    } catch (error) {
      if (signal.aborted || (error instanceof SourcesFailure && error.isAway)) throw error;
      // Was it git's own fault? Then the reason is that.
      gitHere.doubt();
      await this.check();
      throw error;
    } finally {
      for (const mirror of held) this.#users.set(mirror, (this.#users.get(mirror) ?? 1) - 1);
      if (!signal.aborted) this.#maintain(held);
    }
  }

  /** Removes what killed agents left, and mirrors that nobody needs. Call before any run begins. */
  async sweep(): Promise<void> {
    await rm(join(this.#folder, 'trees'), { recursive: true, force: true });
    for (const mirror of this.#mirrors()) await removeHalfFetched(mirror, halfFetchedMs);
    await this.#removeUnused();
  }

  /** Ends its own maintenance, which may first go on for `graceMs`; a fetch ends by its own signal. */
  async close(graceMs = 0): Promise<void> {
    const end = setTimeout(() => this.#closing.abort(), graceMs);
    await this.#maintenance;
    clearTimeout(end);
    this.#closing.abort();
  }

  async #refresh(mirror: string, address: string, spec: SourcesSpec, signal: AbortSignal): Promise<void> {
    // Who finds all here waits for nobody's fetch.
    if (existsSync(join(mirror, 'HEAD')) && (await hasPipeline(mirror, spec, signal))) return touchMirror(mirror);
    await this.#inTurn(mirror, signal, async () => {
      await this.#patiently(mirror, this.#silenceMs, (limitMs) =>
        refreshMirror(mirror, address, spec, signal, limitMs),
      );
      await touchMirror(mirror);
    });
  }

  /** A server that was silent for too long is given twice the time when it is asked again. */
  async #patiently(mirror: string, firstMs: number, fetch: (silenceMs: number) => Promise<void>): Promise<void> {
    const limitMs = this.#silences.get(mirror) ?? firstMs;
    try {
      await fetch(limitMs);
      this.#silences.delete(mirror);
    } catch (error) {
      if (error instanceof SourcesFailure && error.isAway)
        this.#silences.set(mirror, Math.min(limitMs * 2, silenceMs.most));
      throw error;
    }
  }

  async #tree(wanted: Wanted): Promise<Laid> {
    const { mirror, address, spec, signal } = wanted;
    const folder = await this.#newFolder();
    const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
    try {
      await checkOut(folder, mirror, address, spec, signal);
      const modules = await this.#submodules(folder, wanted);
      return { tar: tarFolder(folder), sentence: sentenceOf(spec), ...modules, remove };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  /** Whether what was left in a place is worth more than a new tree. */
  async #isUsed({ keepsFiles }: KeptSources, mirror: string): Promise<boolean> {
    return keepsFiles || isLargeMirror(mirror, this.#largeBytes);
  }

  /** Null: a new tree is to be put there, as the place is empty. `mirrored`: the mirror has the commit. */
  async #inPlace(kept: KeptSources, wanted: Wanted, mirrored: Promise<void>): Promise<Laid | null> {
    const { tree, cleanFlags } = kept;
    const { mirror, address, spec, signal } = wanted;
    if (!(await this.#isUsed(kept, mirror))) {
      await mirrored;
      if (tree.isLeft) await tree.empty();
      await tree.forget();
      return null;
    }
    const folder = await this.#newFolder();
    const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
    try {
      const cleaned = await updateInPlace(tree, { mirror, address, spec, cleanFlags }, signal, mirrored);
      await mkdir(join(folder, '.git'));
      await writeFile(join(folder, '.git', 'config'), treeConfig(spec.sha, address));
      const { said, modules } = await this.#submodules(folder, wanted);
      const how = tree.isLeft ? 'into the tree that a job before left here' : 'into a tree that stays here';
      return {
        ...{ tar: said.length > 0 ? tarFolder(folder) : null, remove, said: [...cleaned, ...said] },
        sentence: `${sentenceOf(spec)}, ${how}`,
        modules,
      };
    } catch (error) {
      await remove();
      // What GitLab did not give is no fault of the tree.
      await mirrored;
      if (signal.aborted || !(error instanceof SourcesFailure) || error.isAway || error instanceof BadCleanFlags)
        throw error;
      await tree.empty();
      const made = await this.#tree(wanted);
      return {
        ...made,
        said: [`The tree that was left here cannot be used, a new one is made: ${error.message}`, ...made.said],
      };
    }
  }

  async #withLfs(made: Laid, { mirror, address, spec, signal }: Wanted): Promise<Sources> {
    if (!spec.lfs || spec.isCheckedOut === false) return { ...made, lfs: [] };
    const { sha, token, repoUrl: named } = spec;
    const own = { mirror, sha, path: '', address: { url: address, isOwn: true } };
    try {
      const { lfs, said } = await lfsFiles([own, ...made.modules], { named, token, signal });
      return { ...made, lfs, said: [...made.said, ...said] };
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  async #newFolder(): Promise<string> {
    await mkdir(join(this.#folder, 'trees'), { recursive: true, mode: 0o700 });
    return mkdtemp(join(this.#folder, 'trees', 't-'));
  }

  async #submodules(
    folder: string,
    { mirror, address, spec, hold, signal }: Wanted,
  ): Promise<Pick<Laid, 'said' | 'modules'>> {
    const said: string[] = [];
    const modules: LaidRepository[] = [];
    if (!spec.submodules || spec.isCheckedOut === false) return { said, modules };
    const place = { folder, gitDir: join(folder, '.git'), mirror, sha: spec.sha, path: '' };
    await bringSubmodules(
      { ...place, address: { url: address, isOwn: true } },
      {
        ...{ spec: spec.submodules, gitlab: spec.gitlabUrl, names: [spec.repoUrl, spec.gitlabUrl], signal },
        mirrorOf: async ({ url, isOwn }, sha) => {
          const its = hold(isOwn ? new URL(url).pathname : url);
          const server = isOwn
            ? { address: url, token: spec.token }
            : { address: url, token: null, resolve: await foreignAddress(url) };
          const refresh = (limitMs: number) => refreshModule(its, server, sha, signal, limitMs);
          await this.#inTurn(its, signal, () => this.#patiently(its, this.#silenceMs * 2, refresh));
          await touchMirror(its);
          return its;
        },
        laid: (module) => modules.push(module),
        say: (sentence) => said.push(plain(sentence)),
      },
    );
    return { said, modules };
  }

  #mirrorAt(place: string): string {
    return join(this.#folder, `${createHash('sha256').update(place).digest('hex').slice(0, 24)}.git`);
  }

  /** Once a day and project, one at a time, while no job needs the mirror. */
  #maintain(mirrors: readonly string[]): void {
    const { signal } = this.#closing;
    if (this.#maintenance !== null || signal.aborted) return;
    this.#maintenance = (async () => {
      for (const mirror of mirrors) {
        if (signal.aborted || (this.#users.get(mirror) ?? 0) > 0 || !(await isMaintenanceDue(mirror))) continue;
        await maintainMirror(mirror, signal);
        await thinLfs(mirror);
        await this.#removeUnused();
      }
    })()
      .catch(() => undefined)
      .finally(() => {
        this.#maintenance = null;
      });
  }

  #mirrors(): string[] {
    try {
      const names = readdirSync(this.#folder).filter((name) => name.endsWith('.git'));
      return names.map((name) => join(this.#folder, name));
    } catch {
      return [];
    }
  }

  async #removeUnused(): Promise<void> {
    for (const mirror of this.#mirrors())
      if ((this.#users.get(mirror) ?? 0) === 0 && isUnused(mirror))
        await this.#inTurn(mirror, this.#closing.signal, () => rm(mirror, { recursive: true, force: true }));
  }

  /** A job that ends while it waits leaves the queue: its turn does nothing. */
  #inTurn<T>(mirror: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const left = new SourcesFailure('ended while it waited for another fetch of this project', false);
    const before = this.#queues.get(mirror) ?? Promise.resolve();
    const turn = async (): Promise<T> => {
      if (signal.aborted) throw left;
      return work();
    };
    const mine = before.then(turn, turn);
    const settled = mine.catch(() => undefined);
    this.#queues.set(mirror, settled);
    void settled.then(() => this.#queues.get(mirror) === settled && this.#queues.delete(mirror));
    let isBegun = false;
    void before.then(() => {
      isBegun = true;
    });
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        if (!isBegun) reject(left);
      };
      signal.addEventListener('abort', leave, { once: true });
      if (signal.aborted) leave();
      mine.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    });
  }
}

const sentenceOf = ({ sha, ref, isCheckedOut }: SourcesSpec): string =>
  isCheckedOut === false
    ? `Fetched ${sha.slice(0, 8)} without its files: GIT_CHECKOUT is false (ref is ${plain(ref)})`
    : `Checked out ${sha.slice(0, 8)} as detached HEAD (ref is ${plain(ref)})`;

// What git itself allows in the name of a ref, and no leading dash.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const refShape = /^(?![-/.])(?!.*(?:\.\.|\/\/|\/\.|@\{))[^\x00-\x20\x7f ~^:?*[\\]+$/;
const isRefspec = (text: string): boolean => {
  const ends = text.replace(/^\+/, '').split(':');
  return (
    ends.length <= 2 &&
    ends.every((end) => refShape.test(end.replace(/\/\*$/, '')) && /^(?:refs\/|[0-9a-f]{40})/.test(end))
  );
};

/** The repository as this machine reaches it. Throws SourcesFailure for whatever is not a repository of GitLab's. */
function addressOf(spec: SourcesSpec): string {
  const refuse = (sentence: string): never => {
    throw new SourcesFailure(sentence, false);
  };
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(spec.sha))
    refuse(`GitLab gave a commit that is none: ${plain(spec.sha)}`);
  if (!refShape.test(spec.ref)) refuse(`GitLab gave a ref that is none: ${plain(spec.ref)}`);
  const odd = spec.refspecs.find((refspec) => !isRefspec(refspec));
  if (odd !== undefined) refuse(`GitLab gave a refspec that is none: ${plain(odd)}`);
  if (!URL.canParse(spec.repoUrl) || !URL.canParse(spec.gitlabUrl))
    return refuse('GitLab gave the repository an address that is none');
  const url = new URL(spec.repoUrl);
  const here = new URL(spec.gitlabUrl);
  for (const { protocol } of [url, here])
    if (protocol !== 'http:' && protocol !== 'https:')
      refuse(`GitLab gave the repository an address with ${protocol} only http and https are fetched`);
  url.protocol = here.protocol;
  url.host = here.host;
  // `host` without a port leaves the port of before.
  url.port = here.port;
  url.username = '';
  url.password = '';
  return url.href;
}
