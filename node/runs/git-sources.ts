import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { foreignAddress } from './foreign-address.ts';
import { git, plain, SourcesFailure } from './git-command.ts';
import { gitHere } from './git-here.ts';
import {
  hasPipeline,
  isMaintenanceDue,
  isUnused,
  maintainMirror,
  refreshMirror,
  refreshModule,
  removeLeftovers,
  touchMirror,
} from './git-mirror.ts';
import { bringSubmodules } from './git-submodules.ts';
import { checkOut } from './git-tree.ts';
import type { SourcesSpec } from './sources-spec.ts';
import { tarFolder } from './tar-folder.ts';

export { SourcesFailure } from './git-command.ts';

interface Sources {
  tar: Readable;
  /** What was checked out, in a sentence for the trace. */
  sentence: string;
  hasLfs: boolean;
  /** What became of its submodules, a line each. */
  said: string[];
  remove(): Promise<void>;
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

/** How long GitLab may be silent in a fetch; doubled each time that it was, for one that is slow rather than away. */
const silenceMs = { first: 15_000, most: 5 * 60_000 } as const;
const attributesBytes = 1 << 20;

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

  constructor(home: string, firstSilenceMs: number = silenceMs.first) {
    this.#silenceMs = firstSilenceMs;
    this.#folder = join(home, 'mirrors');
  }

  /** Whether this machine's git works, in words. Throws AutogitError `unsupported`. */
  check(): Promise<string> {
    return gitHere.check();
  }

  /** Throws SourcesFailure, or AutogitError `unsupported` without a git that works. */
  async fetch(spec: SourcesSpec, signal: AbortSignal): Promise<Sources> {
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
      await this.#refresh(mirror, address, spec, signal);
      return await this.#tree({ mirror, address, spec, hold, signal });
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
    for (const mirror of this.#mirrors()) removeLeftovers(mirror);
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

  async #tree(wanted: Wanted): Promise<Sources> {
    const { mirror, address, spec, signal } = wanted;
    await mkdir(join(this.#folder, 'trees'), { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(this.#folder, 'trees', 't-'));
    const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
    try {
      await checkOut(folder, mirror, address, spec, signal);
      const said = await this.#submodules(folder, wanted);
      const hasLfs = await usesLfs(mirror, spec.sha, signal);
      const commit = spec.sha.slice(0, 8);
      return {
        tar: tarFolder(folder),
        sentence:
          spec.isCheckedOut === false
            ? `Fetched ${commit} without its files: GIT_CHECKOUT is false (ref is ${plain(spec.ref)})`
            : `Checked out ${commit} as detached HEAD (ref is ${plain(spec.ref)})`,
        hasLfs,
        said,
        remove,
      };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  async #submodules(folder: string, { mirror, address, spec, hold, signal }: Wanted): Promise<string[]> {
    const said: string[] = [];
    if (!spec.submodules || spec.isCheckedOut === false) return said;
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
        say: (sentence) => said.push(plain(sentence)),
      },
    );
    return said;
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

/** Whether a commit has files of LFS; of a `.gitattributes` that is a link, or large, nobody knows. */
async function usesLfs(mirror: string, sha: string, signal: AbortSignal): Promise<boolean> {
  const asked = ['ls-tree', '-l', '-z', sha, '--', '.gitattributes'];
  const listed = await git(asked, { cwd: mirror, signal }).catch(() => '');
  const [mode, , blob, size] = listed.split('\t')[0]?.split(/ +/) ?? [];
  const isRead = mode?.startsWith('100') && blob && Number(size) <= attributesBytes;
  const text = isRead ? await git(['cat-file', 'blob', blob], { cwd: mirror, signal }).catch(() => '') : '';
  return /filter=lfs/.test(text);
}
