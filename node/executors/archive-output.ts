import { connect, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { withLimit } from './docker-engine.ts';
import { answerMs, endedBy, type Modem, mostRefusalBytes, placeOf, refusalOf } from './exec-output.ts';
import { KeptReads } from './kept-reads.ts';

/**
 * The engine's tar of a path in a container; a chunk is the reader's until it asks for the next one. Over a connection of its own, whose
 * reads go to one buffer: Node's client copies what comes chunked into memory of its own each, of which V8 lets 32 MiB lie. So it is asked
 * as HTTP/1.0, whose body is all that comes up to the end; that a tar was cut short its reader sees. Behind TLS by dockerode's. Throws
 * with `statusCode` what the engine refuses.
 */
export async function archiveOutput(
  container: Docker.Container,
  path: string,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const modem = container.modem as Modem;
  signal.throwIfAborted();
  if (modem.protocol === 'https') return endedBy(signal, (await container.getArchive({ path })) as unknown as Readable);
  const { at, version } = await placeOf(modem);
  const url = `${version}/containers/${container.id}/archive?${new URLSearchParams({ path })}`;
  const headers = Object.entries({ ...modem.headers, Host: 'docker' }).map(([name, value]) => `${name}: ${value}\r\n`);
  const reads = new KeptReads();
  const socket = reads.of(connect({ ...at, onread: reads.onread }));
  // As long as it is open and nobody reads, the engine's own tar stands, and with it the container's removal.
  endedBy(signal, socket);
  try {
    const answer = withLimit(answered(socket, reads), answerMs);
    socket.write(`GET ${url} HTTP/1.0\r\n${headers.join('')}\r\n`);
    const { status, body } = await answer;
    if (status !== 200) throw await withLimit(refusalOf(status, body), answerMs);
    return body;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Its head, and the rest as it comes. */
function answered(socket: Socket, reads: KeptReads): Promise<{ status: number; body: AsyncIterable<Uint8Array> }> {
  let head = '';
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })));
    socket.on('data', (bytes: Buffer) => {
      head += bytes.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
      if (end >= 0 && status > 0) resolve({ status, body: reads.bytes(Buffer.from(head.slice(end + 4), 'latin1')) });
      else if (end >= 0 || head.length > mostRefusalBytes) reject(new Error('what answers is no Docker Engine'));
    });
  });
}
