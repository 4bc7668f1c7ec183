import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { AutogitError } from '../../protocol/errors.ts';
import { tarFolder } from './tar-folder.ts';

/**
 * A job's sources, fetched by the machine's git. It works only where no job can write: a bare mirror per project under
 * `mirrors/`, and a private folder in which the tree is checked out before any job sees it; the job gets a tar of that.
 * Tokens travel in the environment, never in an argument list, and are kept in no file.
 */
export interface SourcesSpec {
  /** GitLab's address as this machine reaches it; scheme and host of the repository's own are replaced by it. */
  gitlabUrl: string;
  repoUrl: string;
  token: string;
  sha: string;
  ref: string;
  refspecs: string[];
  /** 0 = whole history. */
  depth: number;
}

export interface Sources {
  tar: Readable;
  /** What was checked out, in a sentence for the trace. */
  sentence: string;
  hasLfs: boolean;
  remove(): Promise<void>;
}

/** `isAway`: GitLab did not answer, the same may work later. */
export class SourcesFailure extends Error {
  override readonly name = 'SourcesFailure';
  readonly isAway: boolean;
  constructor(message: string, isAway: boolean) {
    super(message);
    this.isAway = isAway;
  }
}

const silenceMs = 15 * 60_000;
const outputBytes = 64 << 10;
const awayShapes =
  /could not resolve host|failed to connect|connection refused|connection reset|couldn't connect|empty reply|early eof|rpc failed|timed out|the remote end hung up|returned error: (?:429|5\d\d)|unexpected disconnect|not valid: is this a git repository|invalid server response|cut off/i;

export class GitSources {
  readonly #folder: string;
  /** One fetch at a time into a mirror. */
  readonly #queues = new Map<string, Promise<unknown>>();
  #version: string | null = null;

  constructor(home: string) {
    this.#folder = join(home, 'mirrors');
  }

  /** Whether this machine has git, in words. Throws AutogitError `unsupported`. */
  async check(): Promise<string> {
    if (this.#version !== null) return this.#version;
    try {
      this.#version = (await git(['--version'], { cwd: '/' })).trim();
      return this.#version;
    } catch (cause) {
      throw new AutogitError('unsupported', 'this machine has no git: only jobs with GIT_STRATEGY: none can run here', {
        cause,
        hint: 'install git (apt install git)',
      });
    }
  }

  /** Throws SourcesFailure, or AutogitError `unsupported` without git. */
  async fetch(spec: SourcesSpec, signal: AbortSignal): Promise<Sources> {
    await this.check();
    const address = reachable(spec);
    const mirror = join(
      this.#folder,
      `${createHash('sha256').update(new URL(address).pathname).digest('hex').slice(0, 24)}.git`,
    );
    await this.#inTurn(mirror, () => refreshMirror(mirror, address, spec, signal));
    await mkdir(join(this.#folder, 'trees'), { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(this.#folder, 'trees', 't-'));
    const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
    try {
      await checkOut(folder, mirror, address, spec, signal);
      const attributes = await readFile(join(folder, '.gitattributes'), 'utf8').catch(() => '');
      return {
        tar: tarFolder(folder),
        sentence: `Checked out ${spec.sha.slice(0, 8)} as detached HEAD (ref is ${spec.ref})`,
        hasLfs: /filter=lfs/.test(attributes),
        remove,
      };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  /** Removes trees that a killed agent left. Call before any run begins. */
  async sweep(): Promise<void> {
    await rm(join(this.#folder, 'trees'), { recursive: true, force: true });
  }

  #inTurn<T>(mirror: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(mirror) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.catch(() => undefined);
    this.#queues.set(mirror, settled);
    void settled.then(() => this.#queues.get(mirror) === settled && this.#queues.delete(mirror));
    return mine;
  }
}

function reachable(spec: SourcesSpec): string {
  try {
    const url = new URL(spec.repoUrl);
    const here = new URL(spec.gitlabUrl);
    url.protocol = here.protocol;
    url.host = here.host;
    url.username = '';
    url.password = '';
    return url.href;
  } catch {
    throw new SourcesFailure('GitLab gave the repository an address that is none', false);
  }
}

async function refreshMirror(mirror: string, address: string, spec: SourcesSpec, signal: AbortSignal): Promise<void> {
  const create = async (): Promise<void> => {
    await mkdir(mirror, { recursive: true, mode: 0o700 });
    await git(['init', '--quiet', '--bare', '--template=', mirror], { cwd: mirror, signal });
    // Trees are fetched from here by commit; git forgets our environment between its two ends.
    await git(['config', 'uploadpack.allowAnySHA1InWant', 'true'], { cwd: mirror, signal });
  };
  if (!existsSync(join(mirror, 'HEAD'))) await create();
  else if (await hasPipeline(mirror, spec, signal)) return;
  const refspecs = refspecsOf(spec);
  const fetch = (): Promise<string> =>
    git(['fetch', '--quiet', '--force', '--no-tags', '--no-write-fetch-head', '--', address, ...refspecs], {
      cwd: mirror,
      signal,
      token: spec.token,
      host: address,
    });
  try {
    await fetch();
  } catch (error) {
    if (!(error instanceof SourcesFailure) || signal.aborted) throw error;
    // The commit is here already, as for a job that is retried while GitLab restarts.
    if (error.isAway && (await hasCommit(mirror, spec.sha, signal))) return;
    if (error.isAway || !damageShapes.test(error.message)) throw error;
    await rm(mirror, { recursive: true, force: true });
    await create();
    await fetch();
  }
}

const damageShapes = /bad object|corrupt|loose object|not a git repository/i;
const refspecsOf = ({ refspecs, ref }: SourcesSpec): string[] =>
  refspecs.length > 0 ? refspecs : [`+refs/heads/${ref}:refs/remotes/origin/${ref}`];

/** What a refspec writes. */
const targetOf = (refspec: string): string | null => {
  const target = refspec.replace(/^\+/, '').split(':')[1] ?? '';
  return target.startsWith('refs/') ? target : null;
};

/** Another job of the same pipeline fetched it before: its ref stands for ever on its commit. */
async function hasPipeline(mirror: string, spec: SourcesSpec, signal: AbortSignal): Promise<boolean> {
  const targets = spec.refspecs.map(targetOf).filter((target) => target !== null);
  const own = targets.find((target) => target.startsWith('refs/pipelines/'));
  if (own === undefined || targets.some((target) => target.includes('*'))) return false;
  const wanted = targets.map((target) => `${target}^{commit}`);
  const found = await git(['rev-parse', '--verify', '--quiet', `${own}^{commit}`], { cwd: mirror, signal }).catch(
    () => '',
  );
  if (found.trim() !== spec.sha) return false;
  return git(['rev-parse', '--quiet', ...wanted], { cwd: mirror, signal }).then(
    () => true,
    () => false,
  );
}

const hasCommit = (mirror: string, sha: string, signal: AbortSignal): Promise<boolean> =>
  git(['cat-file', '-e', `${sha}^{commit}`], { cwd: mirror, signal }).then(
    () => true,
    () => false,
  );

const credentialHelper =
  '"!f() { test \\"$1\\" = get && echo username=gitlab-ci-token && echo \\"password=$CI_JOB_TOKEN\\"; }; f"';

/** A tree with a `.git` of its own, as jobs expect it: shallow, detached, its remote without a token. */
async function checkOut(
  folder: string,
  mirror: string,
  address: string,
  spec: SourcesSpec,
  signal: AbortSignal,
): Promise<void> {
  const run = (args: string[]): Promise<string> => git(args, { cwd: folder, signal });
  await run(['init', '--quiet', '--template=', '.']);
  // What the mirror holds under the refspecs' right sides is fetched under the same names, with the commit itself.
  const targets = refspecsOf(spec)
    .map(targetOf)
    .filter((target) => target !== null);
  const depth = spec.depth > 0 ? [`--depth=${Math.floor(spec.depth)}`] : [];
  const wanted = [spec.sha, ...targets.map((target) => `+${target}:${target}`)];
  try {
    await run([
      'fetch',
      '--quiet',
      '--force',
      '--no-tags',
      ...depth,
      '--no-write-fetch-head',
      '--',
      `file://${mirror}`,
      ...wanted,
    ]);
  } catch (error) {
    if (signal.aborted || (await hasCommit(mirror, spec.sha, signal))) throw error;
    throw new SourcesFailure(`commit ${spec.sha} is not in what GitLab gave for ${wanted.slice(1).join(' ')}`, false);
  }
  // The job's own `git fetch` asks its environment for the token, so that it is in no file of the tree.
  const config = [
    '[remote "origin"]',
    `\turl = "${address}"`,
    '\tfetch = +refs/heads/*:refs/remotes/origin/*',
    `[credential "${new URL(address).origin}"]`,
    `\thelper = ${credentialHelper}`,
    '',
  ];
  await appendFile(join(folder, '.git', 'config'), config.join('\n'));
  await run(['-c', 'advice.detachedHead=false', 'checkout', '--quiet', '--force', '--detach', spec.sha]);
}

interface GitCall {
  cwd: string;
  signal?: AbortSignal;
  token?: string;
  host?: string;
}

/** The environment of every git of ours: nobody's settings, no questions, the token as a header for GitLab alone. */
function gitEnvironment({ token, host }: GitCall): NodeJS.ProcessEnv {
  const settings: [string, string][] = [
    ['core.hooksPath', '/dev/null'],
    ['safe.directory', '*'],
    ['gc.auto', '0'],
    ['protocol.ext.allow', 'never'],
    ['http.lowSpeedLimit', '100'],
    ['http.lowSpeedTime', '60'],
  ];
  if (token && host) {
    const basic = Buffer.from(`gitlab-ci-token:${token}`).toString('base64');
    settings.push([`http.${new URL(host).origin}/.extraHeader`, `Authorization: Basic ${basic}`]);
  }
  const { PATH, LANG, SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, GIT_EXEC_PATH } = process.env;
  const env: NodeJS.ProcessEnv = { PATH, LANG, SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, GIT_EXEC_PATH };
  Object.assign(env, {
    HOME: '/nonexistent',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: 'true',
    GIT_CONFIG_COUNT: String(settings.length),
  });
  for (const [index, [key, value]] of settings.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  for (const key of Object.keys(env)) if (env[key] === undefined) delete env[key];
  return env;
}

function git(args: string[], options: GitCall): Promise<string> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn('git', args, {
      cwd: options.cwd,
      env: gitEnvironment(options),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: silenceMs,
      ...(options.signal ? { signal: options.signal } : {}),
    });
    let out = '';
    let talk = '';
    child.stdout?.on('data', (data: Buffer) => {
      if (out.length < outputBytes) out += data.toString();
    });
    child.stderr?.on('data', (data: Buffer) => {
      if (talk.length < outputBytes) talk += data.toString();
    });
    child.on('error', (error) => reject(new SourcesFailure(`git: ${error.message}`, false)));
    child.on('close', (code, killed) => {
      if (code === 0) return resolve(out);
      const said = talk.trim().split('\n').slice(-6).join('\n');
      const sentence = `git ${args.find((arg) => !arg.startsWith('-') && !arg.includes('=')) ?? ''} failed (${killed ?? `exit ${code}`}): ${said}`;
      reject(new SourcesFailure(sentence, killed !== null || awayShapes.test(said)));
    });
  });
}
