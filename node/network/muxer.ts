import type { StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';

/** What is changed of a muxer, which its declaration hides. */
interface Sending {
  sendFrame(header: { type: number }, data?: unknown): boolean;
}

/** yamux's frame type of data; all others (window updates, pings, the end) carry none. */
const dataType = 0;

/**
 * yamux, with a window of 1 MiB (`libp2p.md`), that outlives the end of its connection. @libp2p/yamux 8.0.3 opens a
 * stream by a window update sent in a microtask, where nobody catches that the connection has ended since: the agent
 * died of its neighbour's death (the same kind as js-libp2p issues 3415 and 3512). A stream is told of the end when the
 * transport closes, so a frame without data may be lost there without a word.
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
      inner.sendFrame = (header, data) => {
        try {
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
