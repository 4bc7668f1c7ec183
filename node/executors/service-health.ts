import { existsSync } from 'node:fs';
import type Docker from 'dockerode';
import { readKernelFile } from '../machine/kernel-file.ts';
import { printedIn } from './docker-exec.ts';
import { groupOfContainer } from './run-cgroup.ts';

/**
 * Whether a service can be used, by gitlab-runner's rule: one TCP port that its image exposes answers. Here the kernel's own
 * list of listening sockets is read: nothing connects, so no service logs a client that says nothing, and any image will do.
 */
export type Readiness =
  | { is: 'ready' }
  | { is: 'waiting'; because: string }
  /** It will not become ready, or nobody can see whether it does. */
  | { is: 'over'; because: string }
  /** There is nothing to wait for. */
  | { is: 'silent' };

const listening = '0A';
const loopback = /^(?:[0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$/;

/** Ports of `/proc/net/tcp` and tcp6 that others can reach: address and port are in hexadecimal, each word turned round. */
export function listeningPorts(text: string): Set<number> {
  const ports = new Set<number>();
  for (const line of text.split('\n')) {
    const [, local = '', , state] = line.trim().split(/\s+/);
    const [address = '', port = ''] = local.toUpperCase().split(':');
    if (state === listening && /^[0-9A-F]{4}$/.test(port) && !loopback.test(address))
      ports.add(Number.parseInt(port, 16));
  }
  return ports;
}

type Inspected = Pick<Docker.ContainerInspectInfo, 'State'> & {
  Config: Pick<Docker.ContainerInspectInfo['Config'], 'ExposedPorts' | 'Env'>;
};

/** TCP ports to wait for: what the variable HEALTHCHECK_TCP_PORT says, else all that the image exposes. */
export function portsOf({ Config }: Inspected): number[] {
  const said = (Config.Env ?? []).find((entry) => /^healthcheck_tcp_port=/i.test(entry))?.split('=')[1] ?? '';
  if (/^\d{1,5}$/.test(said)) return [Number(said)];
  const exposed = Object.keys(Config.ExposedPorts ?? {}).map(
    (port) => /^(\d{1,5})(?:-\d+)?(?:\/tcp)?$/.exec(port)?.[1],
  );
  return exposed.flatMap((port) => (port === undefined ? [] : [Number(port)])).sort((a, b) => a - b);
}

/** How a container ended, for a sentence. */
export const howEnded = ({ ExitCode, OOMKilled, Error: error }: Docker.ContainerInspectInfo['State']): string =>
  `exit code ${ExitCode}${OOMKilled ? ', out of memory' : ''}${error ? `, ${error}` : ''}`;

/** `open`: the ports that listen; null when nobody can see them. */
export function lookOf(found: Inspected, open: ReadonlySet<number> | null): Readiness {
  const health = found.State.Health?.Status;
  if (!found.State.Running) return { is: 'over', because: `it has ended (${howEnded(found.State)})` };
  if (health === 'healthy') return { is: 'ready' };
  const ports = portsOf(found);
  const asksHealth = health === 'starting' || health === 'unhealthy';
  if (ports.length === 0 && !asksHealth) return { is: 'silent' };
  if (ports.length === 0) return { is: 'waiting', because: `its HEALTHCHECK says ${health}` };
  if (open === null && !asksHealth) return { is: 'over', because: 'nobody can see from here whether its ports answer' };
  if (open !== null && ports.some((port) => open.has(port))) return { is: 'ready' };
  return {
    is: 'waiting',
    because: `${ports.length === 1 ? 'port' : 'none of the ports'} ${ports.join(', ')} ${ports.length === 1 ? 'does not answer' : 'answers'}`,
  };
}

/** An image's own `cat` may print anything, without end. */
const catLimits = { limitMs: 5000, mostChars: 1 << 20 };
const files = ['/proc/net/tcp', '/proc/net/tcp6'];
/** Of each: 1,700 sockets, and the kernel tells those that listen first. */
const listBytes = 256 << 10;
/** A service that has hundreds of thousands of them would have the agent stand still. */
export const socketList = (file: string): string => readKernelFile(file, listBytes);

/** By the container's process where that is one of this machine, else by `cat` in the container; null where neither works. */
export async function openPorts(container: Docker.Container, pid: number): Promise<Set<number> | null> {
  if (groupOfContainer(container.id, pid) !== null)
    try {
      const own = files.map((file) => file.replace('/proc/', `/proc/${pid}/`)).filter((file) => existsSync(file));
      if (own.length > 0) return listeningPorts(own.map(socketList).join('\n'));
    } catch {
      // It has just ended, or a machine that hides processes from others: asked within, then.
    }
  try {
    // Without IPv6 cat misses the second one, and says so by its exit code.
    const text = await printedIn(container, { Cmd: ['cat', ...files] }, catLimits);
    return text.includes('local_address') ? listeningPorts(text) : null;
  } catch {
    return null;
  }
}
