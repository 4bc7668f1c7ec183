import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { createLibp2p, type Libp2p } from 'libp2p';
import { afterEach, describe, expect, it } from 'vitest';
import { muxer } from '../../node/network/muxer.ts';

const hosts: Libp2p[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.stop();
});

const host = async (): Promise<Libp2p> => {
  const made = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [muxer()],
    connectionManager: { inboundConnectionThreshold: 100 },
  });
  hosts.push(made);
  return made;
};

/** What lies below the muxer. When the kernel says that the peer is dead, it is closed a moment before the muxer hears. */
const below = (connection: object) => (connection as { muxer: { maConn: { writeStatus: string } } }).muxer.maConn;

describe('a connection that ends in the moment in which a stream is opened on it', () => {
  it('refuses the stream and harms nobody', async () => {
    const [a, b] = [await host(), await host()];
    await b.handle('/test', () => {});
    const uncaught: unknown[] = [];
    const note = (error: unknown): void => void uncaught.push(error);
    process.on('uncaughtException', note);
    try {
      for (let i = 0; i < 20; i++) {
        const connection = await a.dial(b.getMultiaddrs());
        const opened = connection.newStream('/test').then(
          () => 'opened',
          (error: Error) => error.name,
        );
        // In the same turn of the event loop, before yamux's microtask sends the frame that opens the stream.
        below(connection).writeStatus = 'closed';
        await Promise.resolve();
        connection.abort(new Error('the other side was killed'));
        expect(await opened).not.toBe('opened');
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(uncaught).toEqual([]);
    } finally {
      process.off('uncaughtException', note);
    }
  });
});
