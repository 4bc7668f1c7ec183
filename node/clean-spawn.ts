import {
  type ChildProcess,
  type ExecFileException,
  type ExecFileOptions,
  execFile,
  type SpawnOptions,
  type SpawnSyncOptionsWithStringEncoding,
  type SpawnSyncReturns,
  spawn,
  spawnSync,
} from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Every child of the agent begins here. LevelDB opens its files without close-on-exec, and Node closes nothing above what
 * it was told to hand on: a child would get the store, mesh key and Raft log included, open for writing. So a child is
 * bash first, which closes all that it was not meant to have (nobody can open anything in it meanwhile, as in a list
 * made by the agent), lets go of root where another user was asked for, and only then becomes the program.
 * `test/tidy.test.ts` sees to it that nothing else in `node/` starts processes.
 */

/** $1: the highest descriptor to keep; $2: its oom_score_adj, or nothing; then the program and its arguments. No start-up file is read: `-p`, `--norc`. */
const closing =
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
  'n=$1; [ -z "$2" ] || { echo "$2" >/proc/self/oom_score_adj; } 2>/dev/null; shift 2; for f in /proc/$$/fd/*; do f=${f##*/}; [ "$f" -le "$n" ] || exec {f}>&-; done; exec "$@"';

/** Where a program lies, by a PATH; null when it is not there or nobody may run it. Starts nothing. */
export function findProgram(name: string, path: string | undefined): string | null {
  const places = name.includes('/') ? [name] : (path ?? '').split(delimiter).map((folder) => join(folder, name));
  return (
    places.find((place) => {
      try {
        accessSync(place, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }) ?? null
  );
}

/** PATH where nobody says another. */
export const usualPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const own = new Map<string, string | null>();
/** One of the programs that the way itself needs; looked for once, where the machine's owner has them. */
function ownProgram(name: string): string | null {
  if (!own.has(name)) own.set(name, findProgram(name, usualPath) ?? findProgram(name, process.env.PATH));
  return own.get(name) ?? null;
}

/** The machine's own, whatever stands before it in anybody's PATH; null where there is none. */
export const ownBash = (): string | null => ownProgram('bash');

interface ProgramStart {
  file: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv | undefined;
  uid?: number | undefined;
  gid?: number | undefined;
  /** Descriptors 0 to this are the child's. */
  kept: number;
  isFirstToGo?: boolean | undefined;
}

/**
 * `isFirstToGo`: it works on what jobs and repositories made, so where memory runs out the kernel ends it rather than the agent, whose own
 * place in that order (OOMScoreAdjust of the unit) it would have.
 */
export interface CleanSpawnOptions extends SpawnOptions {
  isFirstToGo?: boolean | undefined;
}
/** That of a job's own processes. */
const firstToGo = '500';

interface Ready {
  file: string;
  args: string[];
  /** True where the way there drops to the user itself: Node must not. */
  dropsUser: boolean;
}

/**
 * A program that is not there is started as it is, so that the caller hears ENOENT. So is every program on a machine
 * without bash; no job runs there but in a container, which inherits nothing.
 */
function ready({ file, args, env, uid, gid, kept, isFirstToGo }: ProgramStart): Ready {
  const program = findProgram(file, (env ?? process.env).PATH);
  const bash = ownProgram('bash');
  if (program === null || bash === null) return { file, args: [...args], dropsUser: false };
  const drop = uid === undefined ? null : droppingTo(uid, gid);
  const score = isFirstToGo === true ? firstToGo : '';
  const way = ['--norc', '--noprofile', '-p', '-c', closing, 'autogit-spawn', String(kept), score];
  return { file: bash, args: [...way, ...(drop ?? []), program, ...args], dropsUser: drop !== null };
}

/** Words before a program that make it that user's, in no other group; null where this machine has no setpriv. */
export function droppingTo(uid: number, gid = uid): string[] | null {
  const setpriv = ownProgram('setpriv');
  return setpriv === null ? null : [setpriv, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
}

const keptOf = (stdio: SpawnOptions['stdio']): number => (Array.isArray(stdio) ? Math.max(2, stdio.length - 1) : 2);

/** As `spawn`: the child gets the descriptors of `stdio` and no others. */
export function spawnClean(file: string, args: readonly string[], given: CleanSpawnOptions = {}): ChildProcess {
  const { isFirstToGo, ...options } = given;
  const { uid, gid, ...rest } = options;
  const way = ready({ file, args, env: options.env, uid, gid, kept: keptOf(options.stdio), isFirstToGo });
  return spawn(way.file, way.args, way.dropsUser ? rest : options);
}

export function spawnCleanSync(
  file: string,
  args: readonly string[],
  options: Omit<SpawnSyncOptionsWithStringEncoding, 'encoding'> = {},
): SpawnSyncReturns<string> {
  const { uid, gid, ...rest } = options;
  const way = ready({ file, args, env: options.env, uid, gid, kept: keptOf(options.stdio as SpawnOptions['stdio']) });
  return spawnSync(way.file, way.args, { ...(way.dropsUser ? rest : options), encoding: 'utf8' });
}

/** As `execFile`. */
export function execClean(
  file: string,
  args: readonly string[],
  options: ExecFileOptions,
  done: (error: ExecFileException | null, stdout: string, stderr: string) => void,
): ChildProcess {
  const way = ready({ file, args, env: options.env, kept: 2 });
  return execFile(way.file, way.args, { ...options, encoding: 'utf8' }, (error, stdout, stderr) =>
    done(error && namingTheProgram(error, file, stderr), stdout, stderr),
  );
}

/** Node's own words for a failure would show the way by which the program was started, and not what it said. */
function namingTheProgram(error: ExecFileException, file: string, stderr: string): ExecFileException {
  if (typeof error.code === 'string') return error;
  const how = error.signal ? `was ended by ${error.signal}` : `failed with exit code ${error.code ?? 'unknown'}`;
  const said = stderr.trim().split('\n').slice(-3).join('; ').slice(0, 300);
  error.message = `${file} ${how}${said === '' ? '' : `: ${said}`}`;
  return error;
}

/** As `execFile` promisified: rejects with what it said in `stdout` and `stderr`. */
export function execCleanly(
  file: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    execClean(file, args, options, (error, stdout, stderr) => {
      if (error) reject(Object.assign(error, { stdout, stderr }));
      else resolve({ stdout, stderr });
    });
  });
}
