import type { StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';

interface Header {
  type: number;
  flag: number;
  streamID: number;
  length: number;
}

/** The members of a muxer that are changed here; its declaration does not show them. */
interface Sending {
  sendFrame(header: Header, data?: unknown): boolean;
}

/** yamux's frame types: of data; of window updates; pings and the end, which carry no data either. */
const dataType = 0;
const windowType = 1;
/** Half of yamux's first window: when the other side is told what was read, it may still send the other half. */
const creditBytes = 128 << 10;
/** Credit is remembered for so many streams. Most streams end long before they have read as much as a window update is worth. */
const maxCredits = 256;

/**
 * yamux, with a window of 1 MiB (`libp2p.md`), that outlives the end of its connection. @libp2p/yamux 8.0.3 opens a
 * stream by a window update sent in a microtask, where nobody catches that the connection has ended since: the agent
 * died of its neighbour's death (the same kind as js-libp2p issues 3415 and 3512). A stream is told of the end when the
 * transport closes, so a frame without data may be lost there without a word.
 * It also answers every frame of data with a window update of its own, a TCP write for each heartbeat; here they are
 * saved up until they are worth one.
 */
export function muxer(): () => StreamMuxerFactory {
  const make = yamux({ maxInboundStreams: 96, streamOptions: { maxStreamWindowSize: 1024 * 1024 } });
  return () => {
    const factory = make();
    const create = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const made = create(connection);
      const inner = made as unknown as Sending;
      const send = inner.sendFrame.bind(made);
      const credits = new Credits();
      inner.sendFrame = (header, data) => {
        try {
          if (header.type === windowType && header.flag === 0) return credits.add(header, send);
          return send(header, data);
        } catch (error) {
          if (header.type !== dataType && (error as Error).name === 'StreamStateError') return false;
          throw error;
        }
      };
      return made;
    };
    return factory;
  };
}

/** Bytes that were read of each stream and of which the other side has not been told. */
class Credits {
  readonly #bytes = new Map<number, number>();

  add(header: Header, send: (header: Header) => boolean): boolean {
    const length = (this.#bytes.get(header.streamID) ?? 0) + header.length;
    if (length >= creditBytes) {
      this.#bytes.delete(header.streamID);
      return send({ ...header, length });
    }
    this.#bytes.set(header.streamID, length);
    if (this.#bytes.size <= maxCredits) return true;
    // The oldest stream has most likely ended; in case it lives, its credit is sent now.
    const [streamID, due] = this.#bytes.entries().next().value as [number, number];
    this.#bytes.delete(streamID);
    return send({ ...header, streamID, length: due });
  }
}
