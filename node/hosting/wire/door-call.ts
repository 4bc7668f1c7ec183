import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { sentenceOf } from '../../../protocol/errors.ts';
import { copyPorts } from '../../../protocol/names.ts';
import { lineTimings, tlsOptions } from './line-options.ts';
import type { CopyDoor } from './once-door.ts';

/** Where a door was opened. */
export interface DoorAt extends CopyDoor {
  host: string;
}

/** Through such a door, by its key. Throws in words that name what a firewall has to let in. */
export async function throughDoor({ host, port, id, key }: DoorAt, given: AbortSignal): Promise<TLSSocket> {
  const socket = connect({
    ...tlsOptions,
    ...{ host, port },
    pskCallback: () => ({ psk: Buffer.from(key, 'base64'), identity: id }),
    // The key says who it is.
    checkServerIdentity: () => undefined,
  });
  socket.on('error', () => {});
  try {
    await once(socket, 'secureConnect', {
      signal: AbortSignal.any([given, AbortSignal.timeout(lineTimings.answerMs)]),
    });
  } catch (error) {
    socket.destroy();
    // A firewall says nothing, or that nobody listens.
    const { first, last } = copyPorts;
    throw new Error(
      `no connection for copies to ${host}:${port}, ${sentenceOf(error)}: a firewall there has to let TCP ${first} to ${last} in`,
      { cause: error },
    );
  }
  socket.setNoDelay(true);
  socket.setKeepAlive(true, lineTimings.keepAliveMs);
  return socket;
}
