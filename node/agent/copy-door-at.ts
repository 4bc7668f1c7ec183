import type { Answer, Ask } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { DoorAt } from '../hosting/wire/door-call.ts';
import { hostIn } from '../network/addresses.ts';

interface Network {
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  /** host:port of where it is connected now. */
  addressOf(node: NodeId): string | null;
}

const askMs = 5000;

/** A door for rounds, opened on the machine that holds copies of that GitLab. Rejects with why there is none. */
export const copyDoorAt = (node: NodeId, { data, epoch }: Hosting, network: Network): Promise<DoorAt> =>
  doorAt(node, { kind: 'open-copy-door', data, epoch }, network);

/** Of whatever a machine opens a door for one connection for. Rejects with why there is none. */
export async function doorAt(node: NodeId, ask: Ask, network: Network): Promise<DoorAt> {
  const answer = await network.ask(node, ask, askMs);
  if (answer.kind !== 'copy-door')
    throw new Error(answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`);
  const host = hostIn(network.addressOf(node));
  if (host === undefined) throw new Error('it is not connected');
  return { host, port: answer.port, id: answer.id, key: answer.key };
}
