import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRecord, readTold } from '../../node/watchdog/told-file.ts';

/**
 * What the agent tells its gate, twice a second while it holds the host lease (SAFETY H1, H5): a file, as the watchdog's
 * beat is, so that a gate needs nobody alive to know until when it may serve. No secret is in it: the gate's user reads it.
 */
export interface GateLease {
  /** Which writing it is: the gate says which one it has read. */
  id: string;
  bootId: string;
  /** The host's epoch: connections of an earlier one end when it rises. */
  epoch: number;
  /** ms of boot time until which GitLab may be served from here (h0 + L). 0: given up, the epoch is closed. */
  until: number;
  /** Where the container answers: an address of its own network. Null while there is none. */
  upstream: string | null;
  /** A function of GitLab was seen to work; until then whoever comes gets a page. */
  isServing: boolean;
  /** Shown to whoever is not served. */
  because: string;
}

export type Passage =
  /** GitLab's own bytes may pass, both ways, at this moment. */
  | { kind: 'open'; upstream: string; epoch: number }
  /** The gate answers by itself. */
  | { kind: 'page'; because: string };

const nobody = 'GitLab is not served from this machine at this moment';
const longestBecause = 500;

/** Checked by hand, as the watchdog's beat is. */
export function isGateLease(value: unknown): value is GateLease {
  if (!isRecord(value)) return false;
  const { id, bootId, epoch, until, upstream, isServing, because } = value;
  return (
    typeof id === 'string' &&
    id.length <= 64 &&
    typeof bootId === 'string' &&
    Number.isSafeInteger(epoch) &&
    Number.isFinite(until) &&
    (upstream === null || typeof upstream === 'string') &&
    typeof isServing === 'boolean' &&
    typeof because === 'string' &&
    because.length <= longestBecause
  );
}

/** The whole decision. A lease of another boot is none: boot time has begun again. */
export function passage(lease: GateLease | null, nowMs: number, bootId: string): Passage {
  if (lease === null || lease.bootId !== bootId || nowMs >= lease.until)
    return { kind: 'page', because: lease === null || lease.because === '' ? nobody : lease.because };
  if (!lease.isServing || lease.upstream === null) return { kind: 'page', because: lease.because || nobody };
  return { kind: 'open', upstream: lease.upstream, epoch: lease.epoch };
}

/** Which of two leases is in force: a file that goes back to an earlier epoch (a stale agent's) opens nothing. */
export function newerLease(had: GateLease | null, read: GateLease | null): GateLease | null {
  if (read === null) return had;
  return had !== null && read.bootId === had.bootId && read.epoch < had.epoch ? had : read;
}

const leaseFile = (home: string): string => join(home, 'lease.json');

/** Atomic: a reader sees the old lease or the new one. Not synced: after a machine's crash it is of another boot. */
export function writeLease(home: string, lease: GateLease): void {
  const temporary = `${leaseFile(home)}.new`;
  writeFileSync(temporary, JSON.stringify(lease), { mode: 0o644 });
  renameSync(temporary, leaseFile(home));
}

/** Null when there is none, or what is there makes no sense: the last good one then stays in force until its end. */
export const readLease = (home: string): GateLease | null => readTold(leaseFile(home), isGateLease);
