import { setPriority } from 'node:os';
import { spawnClean } from '../clean-spawn.ts';
import { spawnAside } from '../starter/starter.ts';
import { gitWayTo, settingsInEnv } from './git-way.ts';

/** One call of the machine's git: nobody's settings, no questions, an end that does not depend on git's good will. */
interface GitCall {
  cwd: string;
  signal?: AbortSignal;
  token?: string;
  /** The address that the token is for. */
  host?: string;
  /** host:port:address, by which it is found: no other look at the DNS then. */
  resolve?: string | undefined;
  /** What git may speak: GitLab's http and https, or `file` from a mirror of ours into a tree. Nothing at all without. */
  speaks?: 'http' | 'file';
  /** No byte of progress for so long: GitLab is taken to be away. Only for calls that ask git for progress. */
  silenceMs?: number;
  limitMs?: number;
  /** Of its output; a git that prints more fails. 64 KiB without. */
  mostBytes?: number;
  /** Its output is taken as bytes, one character each. */
  isBytes?: boolean;
  /** Behind everything else on this machine. */
  isBackground?: boolean;
  /** A short look of a node that may be idle: it begins in the agent, and the starter (11 MiB) stays ended. */
  isLook?: boolean;
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

/** What a repository, or whoever serves it, says of itself, as it may stand in a sentence. */
export const plain = (text: string): string => text.replace(/[^\x20-\x7e\u00a1-\uffff]/g, '?').slice(0, 255);

const limitMs = 15 * 60_000;
/** From a polite end to a hard one, and from there to going on without it (a disk that hangs ends no process). */
const killGraceMs = 2_000;
const outputBytes = 64 << 10;
const awayShapes =
  /could not resolve host|failed to connect|connection refused|connection reset|couldn't connect|empty reply|early eof|rpc failed|timed out|the remote end hung up|returned error: (?:429|5\d\d)|unexpected disconnect|not valid: is this a git repository|invalid server response|cut off|transfer closed|outstanding read data|operation too slow|recv failure|send failure|ssl_error_syscall|no route to host|network is unreachable|bad line length|unexpected eof|invalid index-pack output/i;
const redirectShape = /returned error: 3\d\d|unable to update url base from redirection/i;

/** Whatever a repository, or this machine, says otherwise. */
const always: [string, string][] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['safe.directory', '*'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['protocol.allow', 'never'],
];

/** Nobody's settings and names, no questions. */
function withSettings(settings: readonly (readonly [string, string])[]): Record<string, string> {
  const env: Record<string, string> = {
    HOME: '/nonexistent',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: 'true',
    ...settingsInEnv(settings),
  };
  // Without a name of its own git asks DNS for one, and stands 20 s where no DNS answers.
  for (const who of ['AUTHOR', 'COMMITTER'])
    Object.assign(env, { [`GIT_${who}_NAME`]: 'autogit-node', [`GIT_${who}_EMAIL`]: 'autogit-node@localhost' });
  return env;
}

/** Of a git that works in a tree which jobs had before: it speaks to what it is given alone. */
export const treeEnvironment = (): Record<string, string> =>
  withSettings([...always, ['protocol.file.allow', 'always']]);

/** The environment of every git of ours; the token is a header for GitLab's own address alone. */
function gitEnvironment({ token, host, speaks, resolve: given }: GitCall): NodeJS.ProcessEnv {
  const settings: [string, string][] = [
    ...always,
    // Git would carry the token's header along to wherever it is sent.
    ['http.followRedirects', 'false'],
    // The last resort; a silent fetch is ended sooner (silenceMs).
    ['http.lowSpeedLimit', '1'],
    ['http.lowSpeedTime', '60'],
  ];
  for (const protocol of speaks === 'http' ? ['http', 'https'] : speaks === 'file' ? ['file'] : [])
    settings.push([`protocol.${protocol}.allow`, 'always']);
  const way = host === undefined ? null : gitWayTo(host);
  if (given !== undefined) settings.push(['http.curloptResolve', given]);
  else if (way !== null) settings.push(...way.settings);
  if (token && way !== null) {
    const basic = Buffer.from(`gitlab-ci-token:${token}`).toString('base64');
    settings.push([`http.${way.origin}/.extraHeader`, `Authorization: Basic ${basic}`]);
  }
  const { PATH, LANG, SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, GIT_EXEC_PATH } = process.env;
  const env: NodeJS.ProcessEnv = { PATH, LANG, SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, GIT_EXEC_PATH };
  // It speaks to no other address. A setting would be less than what this machine's own environment says.
  Object.assign(env, way?.env, withSettings(settings));
  for (const key of Object.keys(env)) if (env[key] === undefined) delete env[key];
  return env;
}

/**
 * For the end that sends from a mirror to a tree of this machine: deltas that are there are sent, and none is looked for. A mirror whose project has few
 * large files has them in no pack, and each job waited for a search that saves a pipe some bytes (64 MiB of them: 8.8 s of CPU, and 2.1 without).
 */
export const asItLies = ['-c', 'pack.window=0'] as const;

/** The machine's git at the other end of a fetch into a tree: it serves a mirror, by its standard input and output. */
export const serveMirror = (mirror: string): ReturnType<typeof spawnClean> =>
  spawnClean('git', [...asItLies, 'upload-pack', '--', mirror], {
    cwd: mirror,
    env: gitEnvironment({ cwd: mirror }),
    stdio: ['pipe', 'pipe', 'ignore'],
    isFirstToGo: true,
  });

/** What git printed, whole: part of a list is another list. Throws SourcesFailure; at the latest soon after `signal`. */
export function git(args: string[], options: GitCall): Promise<string> {
  const name = args.find((arg) => !arg.startsWith('-') && !arg.includes('=')) ?? '';
  if (options.signal?.aborted) return Promise.reject(new SourcesFailure(`git ${name}: ended`, false));
  return new Promise((resolve, reject) => {
    // A group of its own: git's helpers end with it.
    const how = { cwd: options.cwd, env: gitEnvironment(options), detached: true, isFirstToGo: true };
    const child = (options.isLook ? spawnClean : spawnAside)('git', args, {
      ...how,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let ended: string | null = null;
    let isAway = false;
    const timers = new Set<NodeJS.Timeout>();
    const later = (ms: number, work: () => void): NodeJS.Timeout => {
      const timer = setTimeout(work, ms);
      timers.add(timer);
      return timer;
    };
    const kill = (signal: NodeJS.Signals): void => killGroup(child.pid, signal);
    const end = (because: string, away: boolean): void => {
      if (ended !== null) return;
      [ended, isAway] = [because, away];
      kill('SIGTERM');
      later(killGraceMs, () => kill('SIGKILL'));
      later(2 * killGraceMs, () => settle(null, 'SIGKILL'));
    };
    const abort = (): void => end('ended', false);
    options.signal?.addEventListener('abort', abort, { once: true });
    later(options.limitMs ?? limitMs, () => end('it took too long', true));
    const { silenceMs } = options;
    const silent = (): void => end(`nothing came from GitLab for ${Math.round((silenceMs ?? 0) / 1000)} s`, true);
    const silence = silenceMs ? later(silenceMs, silent) : null;
    const out: Buffer[] = [];
    let room = options.mostBytes ?? outputBytes;
    let talk = '';
    child.stdout?.on('data', (data: Buffer) => {
      room -= data.length;
      if (room >= 0) out.push(data);
      else end(`it printed more than ${(options.mostBytes ?? outputBytes) >> 10} KiB`, false);
    });
    child.stderr?.on('data', (data: Buffer) => {
      silence?.refresh();
      // Progress can be long: what went wrong stands at the end.
      talk = (talk + data.toString()).slice(-outputBytes);
    });
    const stop = (): void => {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
    };
    const settle = (code: number | null, killed: NodeJS.Signals | null): void => {
      stop();
      if (code === 0 && ended === null)
        return resolve(Buffer.concat(out).toString(options.isBytes ? 'latin1' : 'utf8'));
      if (ended === null) return reject(failureOf(name, code, killed, talk));
      // Helpers of git's that closed their ends and stayed.
      kill('SIGKILL');
      reject(new SourcesFailure(`git ${name}: ${ended}`, isAway));
    };
    child.on('error', (error) => {
      stop();
      reject(new SourcesFailure(`git: ${error.message}`, false));
    });
    child.on('close', settle);
    child.on('spawn', () => {
      // Ended before it was there: nothing could be sent to it then.
      if (ended !== null) kill('SIGTERM');
      if (options.isBackground) background(child.pid as number);
    });
  });
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid) process.kill(-pid, signal);
  } catch {
    // It is gone.
  }
}

function failureOf(name: string, code: number | null, killed: NodeJS.Signals | null, talk: string): SourcesFailure {
  const lines = talk.split(/[\n\r]+/).map((line) => line.trim());
  const said = lines
    .filter((line) => line !== '' && !/^(?:remote: )?[A-Z][a-z]+ing [a-z ]*: +\d/.test(line))
    .slice(-6)
    .join('\n');
  const hint = redirectShape.test(said)
    ? '; GitLab sends git to another address, and the job token goes to no other: connect the address that GitLab itself uses: autogit-node gitlab connect URL'
    : '';
  const sentence = `git ${name} failed (${killed ?? `exit ${code}`}): ${said}${hint}`;
  return new SourcesFailure(sentence, killed !== null || awayShapes.test(said));
}

function background(pid: number): void {
  try {
    setPriority(pid, 19);
  } catch {
    // It has ended already.
  }
}
