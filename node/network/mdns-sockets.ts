import { createSocket, type Socket } from 'node:dgram';

/** The group and port of RFC 6762. */
const group = '224.0.0.251';
const port = 5353;

/**
 * UDP sockets for mDNS, one for each interface, because a socket's multicast leaves by one interface only. Each names its
 * interface, so no route is needed. They are bound to the group instead of to all addresses: unicast to port 5353 is left
 * to a daemon such as avahi, with which the port is shared. Linux hands what is sent to the group to every one of them,
 * whatever interface it came by: the first listens for all.
 */
export class MdnsSockets {
  /** Each socket under the IPv4 address of its interface. */
  #sockets = new Map<string, Socket>();
  #heard: (packet: Buffer, from: string, port: number) => void;
  /** Why the port cannot be had; null while nothing is known against it. */
  problem: string | null = null;

  constructor(heard: (packet: Buffer, from: string, port: number) => void) {
    this.#heard = heard;
  }

  get addresses(): string[] {
    return [...this.#sockets.keys()];
  }

  /** Opens sockets for new interfaces and closes those of interfaces that are gone. Never throws: `problem` says what failed. */
  async use(addresses: readonly string[]): Promise<void> {
    for (const [address, socket] of this.#sockets) if (!addresses.includes(address)) this.#drop(address, socket);
    await Promise.all(
      addresses.filter((one) => !this.#sockets.has(one)).map((address) => this.#open(address).catch(() => {})),
    );
  }

  /** Sends a packet by every interface. A packet that is lost is not reported: senders repeat themselves. */
  send(packet: Uint8Array): void {
    for (const socket of this.#sockets.values()) socket.send(packet, port, group, () => {});
  }

  /** By one interface, to everybody, or to one who asked as one asks a DNS server. */
  sendBy(address: string, packet: Uint8Array, to = { address: group, port }): void {
    this.#sockets.get(address)?.send(packet, to.port, to.address, () => {});
  }

  close(): void {
    for (const [address, socket] of this.#sockets) this.#drop(address, socket);
  }

  #open(address: string): Promise<void> {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    this.#sockets.set(address, socket);
    socket.unref();
    socket.on('message', (packet, { address: from, port: by }) => {
      if (socket === this.#sockets.values().next().value) this.#heard(packet, from, by);
    });
    return new Promise((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE' || error.code === 'EACCES') this.problem = problemOf(error);
        this.#drop(address, socket);
        resolve();
      });
      // `exclusive` keeps a cluster of Node from sharing the handle.
      socket.bind({ port, address: group, exclusive: true }, () => {
        try {
          socket.addMembership(group, address);
          socket.setMulticastInterface(address);
          socket.setMulticastTTL(255);
          this.problem = null;
        } catch {
          // The interface is gone since a moment ago, or has no multicast, which doctor says.
          this.#drop(address, socket);
        }
        resolve();
      });
    });
  }

  #drop(address: string, socket: Socket): void {
    if (this.#sockets.get(address) === socket) this.#sockets.delete(address);
    try {
      socket.close();
    } catch {
      // The socket was closed already.
    }
  }
}

const problemOf = (error: Error): string =>
  `UDP port ${port} cannot be shared (${error.message}), so machines are not found by mDNS: ` +
  'in /etc/avahi/avahi-daemon.conf set disallow-other-stacks=no and restart avahi-daemon, or join with --peer ADDRESS';
