import { connect, createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { AutogitError } from '../../protocol/errors.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { ProbeResult } from '../../scheduler/inputs.ts';
import type { HostPort } from './addresses.ts';

/**
 * The listener that other nodes' probes connect to (DESIGN §6). It sends nothing. That the kernel accepts a connection
 * proves that this process exists; that the kernel refuses one proves that it is gone. The listener is no part of
 * libp2p, whose limits on inbound connections would make a busy node look dead.
 */
export class ProbeListener {
  #servers: Server[] = [];
  #port = 0;

  get port(): number {
    return this.#port;
  }

  /**
   * Listens on all hosts with one port: `wanted` when it is free, otherwise any. Throws `port-taken` when none can be had.
   */
  async start(hosts: readonly string[], wanted: number): Promise<void> {
    for (const port of wanted > 0 ? [wanted, 0] : [0, 0, 0]) {
      try {
        await this.#listen(hosts, port);
        return;
      } catch (error) {
        await this.stop();
        if (port === 0 && wanted > 0)
          throw new AutogitError('port-taken', 'no port for the evidence listener', { cause: error });
      }
    }
    throw new AutogitError('port-taken', 'no port for the evidence listener');
  }

  async #listen(hosts: readonly string[], port: number): Promise<void> {
    this.#port = port;
    for (const host of hosts) {
      const server = createServer({ noDelay: true }, (socket) => {
        socket.on('error', () => {});
        socket.destroy();
      });
      // Beyond this number connections are not accepted by this process, but by then the kernel has answered the probe.
      server.maxConnections = 64;
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ host, port: this.#port, backlog: 1024 }, resolve);
      });
      server.on('error', () => {});
      server.unref();
      this.#servers.push(server);
      const at = server.address();
      if (at !== null && typeof at === 'object') this.#port = at.port;
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((one) => new Promise<void>((done) => one.close(() => done()))));
  }
}

/** After these parts of a probe's time it tries to connect once more. */
const askAgainAt = [1 / 3, 2 / 3];

/**
 * Connects by TCP until one connect is answered. `refused`: the machine's kernel answers that no process listens.
 * `accepted`: the kernel answers for a living process. `silent`: nothing answers within `timeoutMs`, or there is no route.
 * A kernel repeats a SYN only after a second, and a full cable loses some: so a probe connects three times in its time,
 * and only a machine that answers none of them is silent. A failure on this side (no free socket) proves nothing about
 * the other machine, and counts as `accepted`. Never throws.
 */
export function probeAddress(
  at: HostPort,
  timeoutMs: number = sharedTimings.probeSilenceMs,
): Promise<{ result: ProbeResult; tookMs: number }> {
  return new Promise((resolve) => {
    const begun = performance.now();
    const sockets: Socket[] = [];
    const end = (result: ProbeResult): void => {
      for (const timer of timers) clearTimeout(timer);
      for (const socket of sockets) socket.destroy();
      resolve({ result, tookMs: performance.now() - begun });
    };
    const ask = (): void => {
      const socket = connect({ host: at.host, port: at.port });
      sockets.push(socket);
      socket.once('connect', () => end('accepted'));
      socket.on('error', (error: NodeJS.ErrnoException) => end(resultOf(error.code)));
    };
    // When the event loop is late it runs timers before it reads sockets, but an answer that has already come must win.
    const timers = [setTimeout(() => setImmediate(() => end('silent')), timeoutMs)];
    for (const part of askAgainAt) timers.push(setTimeout(ask, part * timeoutMs));
    ask();
  });
}

/** What an error of connect() proves. */
export function resultOf(code: string | undefined): ProbeResult {
  if (code === 'ECONNREFUSED') return 'refused';
  const silent = ['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'ENONET'];
  return silent.includes(code ?? '') ? 'silent' : 'accepted';
}
