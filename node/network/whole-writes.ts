import type { noise } from '@libp2p/noise';

type Encrypter = ReturnType<typeof noise>;

/** The members of a connection that are changed here; its declaration does not show them. */
interface Sending {
  sendData(data: Iterable<Uint8Array> & { subarray(): Uint8Array }): { sentBytes: number; canSendMore: boolean };
}

/**
 * Noise puts two bytes of length before each message, and @libp2p/tcp 11 writes them to the socket by themselves: two
 * system calls and, without Nagle's delay, two packets for each heartbeat. Here what is sent together is written together.
 */
export function wholeWrites(encrypter: Encrypter): Encrypter {
  return (components) => {
    const made = encrypter(components);
    for (const side of ['secureInbound', 'secureOutbound'] as const) {
      const secure = made[side].bind(made) as (...all: unknown[]) => never;
      made[side] = (connection: unknown, options: unknown) => {
        const line = connection as Sending;
        const send = line.sendData.bind(line);
        line.sendData = (data) => {
          const whole = data.subarray();
          return send(Object.assign([whole], { subarray: () => whole }));
        };
        return secure(connection, options);
      };
    }
    return made;
  };
}
