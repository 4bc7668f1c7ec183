import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { endSidePrograms } from '../../watchdog/side-ending.ts';
import { isRecord, isText, readPidFile, readSeen, readTold, writeTold } from '../../watchdog/told-file.ts';

/*
 * By what files agent and forwarder know of each other, as the gate's are (`../gate/gate-files.ts`): a folder of the home in which
 * the forwarder stands, with a user of its own. A forwarder and an agent of different versions meet here for a moment: fields
 * are added, never changed.
 */

/** One of GitLab's ports, on which this machine listens too. Of `http` a page can be shown, of `ssh` a sentence; `https` is cut, as the certificate is the host's. */
export interface ForwardDoor {
  kind: 'http' | 'https' | 'ssh';
  port: number;
}

export const forwardWord = ({ kind, port }: ForwardDoor): string => `${kind}/${port}`;

export function forwardDoorOf(word: string): ForwardDoor {
  const [, kind, port] = /^(http|https|ssh)\/(\d{1,5})$/.exec(word) ?? [];
  if (kind === undefined || Number(port) < 1 || Number(port) > 65_535) throw new Error(`not a door: ${word}`);
  return { kind: kind as ForwardDoor['kind'], port: Number(port) };
}

/** Where what comes goes, as the agent says it each few seconds. */
export interface ForwardTarget {
  /** Which writing it is. */
  id: string;
  bootId: string;
  /** ms of boot time: an agent that said nothing by then is gone, and so is its forwarder. */
  until: number;
  /** This machine, as the host's gate knows it. */
  node: string;
  /** The host's gate: addresses in the order in which they are tried, the port of its door for members, and the key there. Null while it is not known. */
  gate: { addresses: string[]; port: number; key: string } | null;
  /** For people, where the gate is not reached: one sentence. */
  because: string;
}

/** What a forwarder says of the target that it has read. */
export type ForwardSeen = 'fine' | 'refused' | 'unreached';

export const forwardFolder = (home: string): string => join(home, 'forward');
export const forwardLog = (home: string): string => join(home, 'forward.log');
export const pidFileIn = (folder: string): string => join(folder, 'forward.pid');
export const seenFileIn = (folder: string): string => join(folder, 'forward.seen');
/** What could not be listened on, and why. */
export const problemsFileIn = (folder: string): string => join(folder, 'forward.problems');
const targetFile = (folder: string): string => join(folder, 'target.json');

export function makeForwardFolder(home: string): string {
  const folder = forwardFolder(home);
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  return folder;
}

function isGate(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { addresses, port, key } = value;
  const areAddresses =
    Array.isArray(addresses) && addresses.length <= 4 && addresses.every((one) => isText(one, 64) && isIP(one) !== 0);
  return areAddresses && Number.isSafeInteger(port) && isText(key, 64);
}

/** Checked by hand, as the gate's lease is. */
function isTarget(value: unknown): value is ForwardTarget {
  if (!isRecord(value)) return false;
  const { id, bootId, until, node, gate, because } = value;
  return (
    isText(id, 48) &&
    isText(bootId, 64) &&
    Number.isFinite(until) &&
    isText(node, 128) &&
    (gate === null || isGate(gate)) &&
    isText(because, 500)
  );
}

/** A key is in it: nobody but root and the forwarder's user reads it. */
export const writeTarget = (folder: string, target: ForwardTarget, uid: number | null): Promise<void> =>
  writeTold(targetFile(folder), target, 0o600, (from, to) => {
    if (uid !== null) chownSync(from, uid, uid);
    renameSync(from, to);
  });

export const readTarget = (folder: string): ForwardTarget | null => readTold(targetFile(folder), isTarget);
export const hasTarget = (folder: string): boolean => existsSync(targetFile(folder));

/** This home's living forwarder, and the words by which it can be told from another: its user, its version, its doors. */
export const forwarderNow = (home: string): { pid: number | null; words: string[] } =>
  readPidFile(pidFileIn(forwardFolder(home)));

export interface PortProblem {
  port: number;
  code: string;
  message: string;
}

function arePortProblems(value: unknown): value is PortProblem[] {
  const isOne = (one: unknown): boolean =>
    isRecord(one) && Number.isSafeInteger(one.port) && isText(one.code, 64) && isText(one.message, 500);
  return Array.isArray(value) && value.every(isOne);
}

export const portProblems = (home: string): PortProblem[] =>
  readTold(problemsFileIn(forwardFolder(home)), arePortProblems) ?? [];

/** Which target it has read last, and how it went there. */
export function seenByForwarder(home: string): { id: string | null; seen: ForwardSeen | null } {
  const [id = null, seen = null] = readSeen(seenFileIn(forwardFolder(home)))?.split(' ') ?? [];
  return { id, seen: seen as ForwardSeen | null };
}

const endMs = 2000;

/** Its doors are free when this resolves, and what passed is cut: its host is another one now, or there is none. Throws where it does not end. */
export async function endForwarder(home: string): Promise<void> {
  const left = (): number[] => [forwarderNow(home).pid ?? []].flat();
  await endSidePrograms('what forwards to GitLab', { left, signal: 'SIGTERM', politeMs: endMs });
  rmSync(forwardFolder(home), { recursive: true, force: true });
}
