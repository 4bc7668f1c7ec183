import type { Answer, Ask } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';

interface HostingRoomOptions {
  self: NodeId;
  ledger(): Ledger | null;
}

type HostingAsk = Ask & { kind: 'check-deploy' | 'look-at-gitlab' | 'root-password' };

/** What this machine does of the mesh's own GitLab: where the ledger names it, it runs it; where asked, it looks whether it could. */
export class HostingRoom {
  readonly #options: HostingRoomOptions;

  constructor(options: HostingRoomOptions) {
    this.#options = options;
  }

  /** This machine runs the mesh's GitLab, or shall. */
  hosts(): boolean {
    return hostingOf(this.#options.ledger())?.host === this.#options.self;
  }

  async answer(_ask: HostingAsk): Promise<Answer> {
    return { kind: 'refused', because: 'this machine runs no GitLab of the mesh' };
  }
}
