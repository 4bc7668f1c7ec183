import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Era, Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Report } from '../../protocol/report.ts';
import type { ProbeResult } from '../../scheduler/inputs.ts';
import type { Network } from '../ports.ts';

/**
 * The place where the network will be. The core runs, and runs are adopted, before libp2p is loaded (SAFETY J2): until
 * then nobody is connected, what is sent is lost, and a probe proves nothing.
 */
export class DeferredNetwork {
  #network: Network | null = null;
  #ledger: Ledger | null = null;

  fill(network: Network): void {
    this.#network = network;
    if (this.#ledger) network.setLedger(this.#ledger);
  }

  setLedger(ledger: Ledger): void {
    this.#ledger = ledger;
    this.#network?.setLedger(ledger);
  }

  send(to: NodeId, message: PeerMessage, era?: Era): void {
    this.#network?.send(to, message, era);
  }

  cut(node: NodeId, because: string): void {
    this.#network?.cut(node, because);
  }

  publish(report: Report): void {
    this.#network?.publish(report);
  }

  async isolate(forMs: number): Promise<void> {
    await this.#network?.isolate(forMs);
  }

  addresses(): string[] {
    return this.#network?.addresses() ?? [];
  }

  async ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer> {
    if (this.#network === null) throw new AutogitError('timed-out', 'the network is not up yet');
    return this.#network.ask(node, ask, timeoutMs);
  }

  addressOf(node: NodeId): string | null {
    return this.#network?.addressOf(node) ?? null;
  }

  connected(): NodeId[] {
    return this.#network?.connected() ?? [];
  }

  async probe(node: NodeId): Promise<{ result: ProbeResult; tookMs: number }> {
    return this.#network?.probe(node) ?? { result: 'accepted', tookMs: 0 };
  }
}
