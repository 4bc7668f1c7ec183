import { isIP } from 'node:net';
import type { NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import { hostIn, hostPortOf } from '../../network/addresses.ts';
import type { ForwardDoor } from './forward-files.ts';

/** What a machine that does not host GitLab listens on, and where what comes goes. */
export interface ForwardPlan {
  host: NodeId;
  epoch: number;
  doors: ForwardDoor[];
  /** Of the host, in the order in which they are tried. */
  addresses: string[];
}

interface Known {
  self: NodeId;
  ledger: Ledger | null;
  /** host:port by which the host is connected now; null while it is not. */
  connectedAt: string | null;
  /** Every address of this machine. */
  own: readonly string[];
}

/** So many addresses of the host are tried. */
const mostAddresses = 4;

/**
 * Null where there is nothing to forward: no GitLab stands, this machine hosts it, or another agent of this very machine does, whose
 * gate has the ports.
 */
export function forwardPlan({ self, ledger, connectedAt, own }: Known): ForwardPlan | null {
  const hosting = hostingOf(ledger);
  if (ledger === null || hosting === null || ledger.gitlab.url === null || hosting.ending) return null;
  const { host, epoch, port, sshPort, https, httpPort } = hosting;
  if (host === self || ledger.nodes[self] === undefined) return null;
  const said = (ledger.nodes[host]?.addresses ?? []).map((one) => hostPortOf(one)?.host ?? '');
  const known = [hostIn(connectedAt) ?? '', ...said].filter((one) => isIP(one) !== 0);
  const isLoop = (one: string): boolean => /^127\.|^::1$/.test(one);
  const isHere = (one: string): boolean => own.includes(one) || isLoop(one);
  // Where it is connected tells it surely; else every machine may say of itself that it is at its loopback.
  if (connectedAt === null ? known.every(isHere) : known.slice(0, 1).some(isHere)) return null;
  const doors: ForwardDoor[] = [{ kind: https === undefined ? 'http' : 'https', port }];
  if (https !== undefined && httpPort !== undefined) doors.push({ kind: 'http', port: httpPort });
  if (sshPort !== null) doors.push({ kind: 'ssh', port: sshPort });
  const addresses = [...new Set(known.filter((one) => !isHere(one)))].slice(0, mostAddresses);
  return { host, epoch, doors, addresses };
}

/** Ports that other programs of this machine had, by when that was seen last, ms of boot time; of this boot, or of the one before. */
export interface LeftPorts {
  bootId: string;
  ports: { port: number; takenAt: number }[];
}

const leftTimings = {
  /** Whatever of this machine listens on them by itself has begun by then. */
  bootMs: 90_000,
  /** And what had one of them before this boot. */
  knownBootMs: 600_000,
  /** A program that is restarted lets go of its port for a moment. */
  freeMs: 180_000,
} as const;

/**
 * Which doors are opened now. A port of another program's is left to it, also while that begins anew: a web server of this machine
 * must not find its port taken because a mesh was joined, after a boot least of all.
 */
export function doorsNow(
  doors: readonly ForwardDoor[],
  left: LeftPorts | null,
  { bootId, bootMs }: { bootId: string; bootMs: number },
): ForwardDoor[] {
  if (bootMs < leftTimings.bootMs) return [];
  return doors.filter(({ port }) => {
    const known = left?.ports.find((one) => one.port === port);
    if (known === undefined || left === null) return true;
    return left.bootId === bootId ? bootMs - known.takenAt >= leftTimings.freeMs : bootMs >= leftTimings.knownBootMs;
  });
}

/** With what was seen now. Those of the boot before stay until they may be tried. */
export function leftAfter(
  left: LeftPorts | null,
  taken: readonly number[],
  { bootId, bootMs }: { bootId: string; bootMs: number },
): LeftPorts | null {
  if (taken.length === 0) return left;
  const isOfThisBoot = left?.bootId === bootId;
  const before = isOfThisBoot ? left.ports : (left?.ports ?? []).map(({ port }) => ({ port, takenAt: bootMs }));
  const others = before.filter(({ port }) => !taken.includes(port));
  return { bootId, ports: [...others, ...taken.map((port) => ({ port, takenAt: bootMs }))].slice(-16) };
}
