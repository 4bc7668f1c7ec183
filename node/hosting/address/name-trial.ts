import { setTimeout as sleep } from 'node:timers/promises';
import { MdnsSockets } from '../../network/mdns-sockets.ts';
import { ownAddresses } from './local-name.ts';
import { heardOf, nameProbe } from './name-packets.ts';

/** As often as who is about to take a name asks for it (RFC 6762 §8.1). */
const probes = { times: 3, everyMs: 250 } as const;

/** Whether this machine may answer to that name on its LAN; takes 0.8 s. In words why not, null where nobody has it. */
export async function whyNotName(name: string): Promise<string | null> {
  const own = ownAddresses();
  if (own.size === 0) return 'this machine has no address in a LAN';
  let other: string | null = null;
  const sockets = new MdnsSockets((packet) => {
    const heard = heardOf(name, packet);
    if (heard?.kind === 'said')
      other ??= heard.addresses.find((one) => one.includes('.')) ?? heard.addresses[0] ?? null;
  });
  try {
    await sockets.use([...own.keys()]);
    for (let sent = 0; sent < probes.times && sockets.problem === null; sent++) {
      sockets.send(nameProbe(name));
      await sleep(probes.everyMs);
    }
    if (sockets.problem !== null) return sockets.problem;
    if (other === null) return null;
    const isOwn = [...own.values()].some(({ v4, v6 }) => [...v4, ...v6].includes(other ?? ''));
    return isOwn
      ? `${name} is what this machine itself is called, and would stay with it`
      : `${name} is the name of another machine, at ${other}`;
  } finally {
    sockets.close();
  }
}
