import '../../node/polyfill.ts';
import { mdns } from '@libp2p/mdns';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';
import { names } from '../../protocol/names.ts';

/** libp2p as it comes, with its own mDNS under our tag: says who it is, then every node that it sees. */
const host = await createLibp2p({
  addresses: { listen: ['/ip4/0.0.0.0/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  peerDiscovery: [mdns({ serviceTag: names.mdnsTag, interval: 500 })],
});
host.addEventListener('peer:discovery', ({ detail }) => process.stdout.write(`${detail.id}\n`));
process.stdout.write(`${host.peerId}\n`);
