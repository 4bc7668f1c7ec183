import type { Connection } from '@libp2p/interface';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Host } from './libp2p-host.ts';
import type { NetworkLog } from './network-log.ts';

const afterMs = 5000;

/**
 * Which program the other side is, for the log: the first question when two versions do not understand each other. Asked later, and not of
 * all `crowd` nodes at once: nothing waits for it, and a mesh that forms is busy.
 */
export function identifyLater(
  libp2p: Host,
  log: NetworkLog,
  node: NodeId,
  connection: Connection,
  crowd: number,
): void {
  setTimeout(() => void identify(libp2p, log, node, connection), afterMs * (1 + Math.random() * crowd)).unref();
}

async function identify(libp2p: Host, log: NetworkLog, node: NodeId, connection: Connection): Promise<void> {
  if (connection.status !== 'open') return;
  try {
    const signal = AbortSignal.timeout(5000);
    const { agentVersion, protocols } = await libp2p.services.identify.identify(connection, { signal });
    log.debug({ event: 'identified', node, agentVersion, protocols }, `${node} runs ${agentVersion}`);
  } catch (error) {
    log.debug({ event: 'identify-failed', node, because: sentenceOf(error) }, `${node} is not told`);
  }
}
