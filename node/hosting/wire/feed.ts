import type { TLSSocket } from 'node:tls';
import type { RoundSource } from '../replica/replica-ports.ts';
import { frameKinds, writeFrame } from './frames.ts';
import type { PoliteSender } from './polite-sender.ts';

/** A stream that stops says nothing: only the sender's own end makes it whole. */
export async function feed(
  socket: TLSSocket,
  { stream, done }: RoundSource,
  signal: AbortSignal,
  ready: (bytes: number) => Promise<void>,
  polite: PoliteSender | null,
): Promise<void> {
  try {
    for await (const data of stream as AsyncIterable<Buffer>)
      for (let from = 0; from < data.length; ) {
        const piece = data.subarray(from, from + (polite?.pieceBytes ?? data.length));
        await ready(piece.length);
        await writeFrame(socket, frameKinds.data, piece, signal);
        from += piece.length;
      }
    await done;
    await writeFrame(socket, frameKinds.end, Buffer.alloc(0), signal);
  } catch (error) {
    await writeFrame(socket, frameKinds.broken, Buffer.alloc(0), signal).catch(() => {});
    throw error;
  }
}
