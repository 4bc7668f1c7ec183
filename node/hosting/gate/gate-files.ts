import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readPidFile, readSeen } from '../../watchdog/told-file.ts';

/*
 * By what files agent and gate know of each other, in a folder of the home that only the gate's user gets at, by standing in it:
 * it goes there before it lets go of root. No secret is in it.
 *
 * These words stay as they are: a gate outlives its agent, and the next agent may be of another version, older ones too.
 */

export interface Door {
  /** `http` can show a page, `https` too, in TLS of the gate's own; `redirect` leads to that one; `ssh` a sentence; `tls` can only be cut. */
  kind: 'http' | 'https' | 'redirect' | 'ssh' | 'tls';
  port: number;
  /** The port of GitLab's container behind it; of `redirect` that of `https`. */
  behind: number;
  /** GitLab can be told who the client is (PROXY protocol), and is where the lease says so: nginx understands it, the image's OpenSSH does not. */
  proxy: boolean;
  /** Of `https`: which certificate it has (`certificateMark`). */
  certificate?: string;
}

export const doorWord = ({ kind, port, behind, proxy, certificate }: Door): string =>
  [kind, port, behind, proxy ? 'proxy' : 'plain', ...(certificate === undefined ? [] : [certificate])].join('/');

export function doorOf(word: string): Door {
  const found =
    /^(?:(http|redirect|ssh|tls)|(https)(?=.*\/[\da-f]{16}$))\/(\d{1,5})\/(\d{1,5})\/(proxy|plain)(?:\/([\da-f]{16}))?$/.exec(
      word,
    );
  const [, clear, secure, port, behind, proxy, certificate] = found ?? [];
  const kind = clear ?? secure;
  const isPort = (text: string | undefined): boolean => Number(text) > 0 && Number(text) <= 65_535;
  if (kind === undefined || !isPort(port) || !isPort(behind)) throw new Error(`not a door: ${word}`);
  const door = { kind: kind as Door['kind'], port: Number(port), behind: Number(behind), proxy: proxy === 'proxy' };
  return certificate === undefined ? door : { ...door, certificate };
}

export const gateFolder = (home: string): string => join(home, 'gate');
export const gateLog = (home: string): string => join(home, 'gate.log');

/** Where the agent tells whether a push waits for a copy; the gate asks there (`../push/hook-door.ts`). */
export const pushSocketIn = (folder: string): string => join(folder, 'pushes.sock');

/** The gate's own names, in the folder in which it stands. */
export const pidFileIn = (folder: string): string => join(folder, 'gate.pid');
export const problemFileIn = (folder: string): string => join(folder, 'gate.problem');
export const seenFileIn = (folder: string, pid: number): string => join(folder, `${pid}.seen`);
/** What a gate says behind the lease that it has read, once it listens no more. */
export const retiredWord = 'retired';

export function makeGateFolder(home: string): string {
  const folder = gateFolder(home);
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  return folder;
}

/** This home's living gate: its pid, and the words by which it can be told from another: its user, its version, its doors. */
export const gateNow = (home: string): { pid: number | null; words: string[] } =>
  readPidFile(pidFileIn(gateFolder(home)));

const retiredFile = /^(\d+)\.retired$/;

/** From now on another gate is this home's; the one before goes on with what passes through it. */
export function setAside(home: string, pid: number): void {
  renameSync(pidFileIn(gateFolder(home)), join(gateFolder(home), `${pid}.retired`));
}

/** All gates that live, those included that only finish. Forgets those that live no more. */
export function livingGates(home: string): number[] {
  const folder = gateFolder(home);
  if (!existsSync(folder)) return [];
  const [now, names] = [gateNow(home).pid, readdirSync(folder)];
  const retired = names.filter((name) => retiredFile.test(name));
  const living = retired.flatMap((name) => readPidFile(join(folder, name)).pid ?? []);
  if (now !== null) living.push(now);
  for (const name of retired)
    if (readPidFile(join(folder, name)).pid === null) rmSync(join(folder, name), { force: true });
  for (const name of names) {
    const pid = /^(\d+)\.seen$/.exec(name)?.[1];
    // One that is starting has no pid file yet.
    if (pid !== undefined && !living.includes(Number(pid)) && !existsSync(`/proc/${pid}`))
      rmSync(join(folder, name), { force: true });
  }
  return living;
}

/** The lease that this gate has read last, and whether it has stopped listening. */
export function seenBy(home: string, pid: number): { id: string | null; isRetired: boolean } {
  const [id = null, word] = readSeen(seenFileIn(gateFolder(home), pid))?.split(' ') ?? [];
  return { id: id === '' ? null : id, isRetired: word === retiredWord };
}
