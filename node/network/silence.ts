import { sentenceOf } from '../../protocol/errors.ts';
import type { Dialer } from './dialer.ts';
import type { Gate } from './gate.ts';
import type { Host } from './libp2p-host.ts';
import type { NetworkLog } from './network-log.ts';
import type { ProbeListener } from './probe-listener.ts';

/** ms until the evidence port is opened again where that failed. */
const againMs = 1000;

interface SilenceParts {
  libp2p: Host;
  gate: Gate;
  dialer: Dialer;
  evidence: ProbeListener;
  log: NetworkLog;
  hosts(): readonly string[];
}

/**
 * For a while others find of this agent what they find of one that was killed: its connections are reset, its evidence port is
 * refused by the kernel, nobody gets in, and it dials nobody. The machine is there, and all else of it goes on. It is in this
 * process alone and ends by its own timer: an agent that is started anew is as any other.
 */
export class Silence {
  readonly #parts: SilenceParts;
  #timer: NodeJS.Timeout | null = null;
  #port = 0;
  #isStopped = false;

  constructor(parts: SilenceParts) {
    this.#parts = parts;
  }

  /** Resolves when it has begun. One that lasts already goes on as it was. */
  async begin(forMs: number): Promise<void> {
    const { gate, dialer, evidence, libp2p } = this.#parts;
    if (gate.isShut) return;
    gate.isShut = true;
    this.#port = evidence.port;
    this.#timer = setTimeout(() => void this.#end(), forMs);
    dialer.stop();
    // Whoever sees its connection end looks at this port at once.
    await evidence.stop();
    for (const connection of libp2p.getConnections()) connection.abort(new Error('this agent is silent'));
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  async #end(): Promise<void> {
    const { gate, dialer, evidence, hosts, log } = this.#parts;
    try {
      await evidence.start(hosts(), this.#port);
    } catch (error) {
      log.error({ event: 'evidence-failed', because: sentenceOf(error) }, 'the evidence port could not be opened');
      if (!this.#isStopped) this.#timer = setTimeout(() => void this.#end(), againMs);
      return;
    }
    if (this.#isStopped) return evidence.stop();
    gate.isShut = false;
    dialer.start();
  }
}
