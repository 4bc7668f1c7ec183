import { connect, createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { AutogitError } from '../../protocol/errors.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { ProbeResult } from '../../scheduler/inputs.ts';
import type { HostPort } from './addresses.ts';

/**
 * The listener that other nodes' probes connect to (DESIGN §6). It says nothing: that the kernel accepts is the proof
 * that this process exists, that it refuses is the proof that it is gone. It stands outside libp2p, whose limits on
 * inbound connections would make a busy node look dead.
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
      // More at a time than this are not accepted by us, but the kernel has answered the probe by then.
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

/** Parts of a probe's time after which it asks once more. */
const askAgainAt = [1 / 3, 2 / 3];

/**
 * TCP connects, until one is answered. `refused`: the machine's kernel answers that nobody listens. `accepted`: it answers
 * for a living process. `silent`: no answer in `timeoutMs`, or no way there. A kernel sends a SYN again only after a
 * second, and a cable that is full loses some: so a probe asks three times in its time, and only a machine that answers
 * none of them is silent. A failure of our own (no free socket) proves nothing about the other side, so the benefit of
 * the doubt is given: `accepted`. Never throws.
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
    // A late event loop runs timers before it reads sockets: an answer that is already there must win.
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
