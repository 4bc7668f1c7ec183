import { renameSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { isRecord, isText, readTold, writeTold } from '../../watchdog/told-file.ts';

/**
 * What the agent tells its gate, twice a second while it holds the host lease (SAFETY H1, H5): a file, as the watchdog's
 * beat is, so that a gate needs nobody alive to know until when it may serve. No secret is in it: the gate's user reads it.
 * A gate and an agent of different versions meet here: fields are added, never changed, and what one does not know it leaves alone.
 */
export interface GateLease {
  /** Which writing it is: the gate says which one it has read. */
  id: string;
  bootId: string;
  /** The host's epoch: connections of an earlier one end when it rises. */
  epoch: number;
  /** ms of boot time until which GitLab may be served from here (h0 + L). 0: the epoch is closed, for good. */
  until: number;
  /** Where the container answers: an address of its own network. Null while there is none. */
  upstream: string | null;
  /** A function of GitLab was seen to work; until then whoever comes gets a page. */
  isServing: boolean;
  /** Shown to whoever is not served while the lease holds, or is given up. */
  because: string;
  /** GitLab's nginx wants to be told who the client is (PROXY protocol). Absent of an agent of before, and of a container that it made. */
  tellsClient?: boolean;
  /**
   * ms of boot time at which the host asked for this lease: answers to writes that GitLab gave before it may pass (SAFETY H9). Absent: the
   * strict mode is off, or the agent is one of before.
   */
  confirmedAt?: number;
}

export type Passage =
  /** GitLab's own bytes may pass, both ways, at this moment. */
  | { kind: 'open'; upstream: string; epoch: number; tellsClient: boolean }
  /** The gate answers by itself. */
  | { kind: 'page'; because: string };

const nobody = 'GitLab is not served from this machine at this moment';
const lost =
  'This machine has lost touch with most of its mesh, or its agent stands still: it does not serve GitLab until that is over';
export const longestBecause = 500;

/** Checked by hand, as the watchdog's beat is. */
function isGateLease(value: unknown): value is GateLease {
  if (!isRecord(value)) return false;
  const { id, bootId, epoch, until, upstream, isServing, because, tellsClient, confirmedAt } = value;
  return (
    isText(id, 48) &&
    /^[\w:-]+$/.test(id) &&
    isText(bootId, 64) &&
    Number.isSafeInteger(epoch) &&
    Number.isFinite(until) &&
    (upstream === null || (isText(upstream, 64) && isIP(upstream) !== 0)) &&
    typeof isServing === 'boolean' &&
    isText(because, longestBecause) &&
    (tellsClient === undefined || typeof tellsClient === 'boolean') &&
    (confirmedAt === undefined || Number.isFinite(confirmedAt))
  );
}

/** The whole decision. A lease of another boot is none: boot time has begun again. */
export function passage(lease: GateLease | null, nowMs: number, bootId: string): Passage {
  if (lease === null || lease.bootId !== bootId) return { kind: 'page', because: nobody };
  if (lease.until <= 0) return { kind: 'page', because: lease.because || nobody };
  if (nowMs >= lease.until) return { kind: 'page', because: lost };
  if (!lease.isServing || lease.upstream === null) return { kind: 'page', because: lease.because || nobody };
  const { upstream, epoch, tellsClient = false } = lease;
  return { kind: 'open', upstream, epoch, tellsClient };
}

/** Which of two leases is in force: a file that goes back to an earlier epoch, or to one that was closed, opens nothing. */
export function newerLease(had: GateLease | null, read: GateLease | null): GateLease | null {
  if (read === null || had === null || read.bootId !== had.bootId) return read ?? had;
  if (read.epoch < had.epoch) return had;
  return read.epoch === had.epoch && had.until <= 0 && read.until > 0 ? had : read;
}

const leaseFile = (folder: string): string => join(folder, 'lease.json');

/** The gate's user reads it, whatever the agent's umask. */
export const writeLease = (folder: string, lease: GateLease): Promise<void> =>
  writeTold(leaseFile(folder), lease, 0o644, renameSync);

/** Null when there is none, or what is there makes no sense: the last good one then stays in force until its end. */
export const readLease = (folder: string): GateLease | null => readTold(leaseFile(folder), isGateLease);
