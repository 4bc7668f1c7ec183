import { BlockList, isIP } from 'node:net';

const kindOf = (address: string): 'ipv4' | 'ipv6' | null => {
  const version = isIP(address);
  return version === 4 ? 'ipv4' : version === 6 ? 'ipv6' : null;
};

/** Addresses and subnets (`192.168.1.5`, `192.168.1.0/24`, `fd00::/8`). Null where one of them is none. */
export function sourcesOf(texts: readonly string[]): BlockList | null {
  const list = new BlockList();
  for (const text of texts) {
    const [address = '', bits, more] = text.split('/');
    const kind = kindOf(address);
    if (kind === null || more !== undefined) return null;
    if (bits === undefined) list.addAddress(address, kind);
    else if (/^\d{1,3}$/.test(bits) && Number(bits) <= (kind === 'ipv4' ? 32 : 128))
      list.addSubnet(address, Number(bits), kind);
    else return null;
  }
  return list;
}

/** `address`: as a socket has it, also an IPv4 one in IPv6's form. */
export function isAllowed(list: BlockList, address: string): boolean {
  const plain = (/^::ffff:(\d+(?:\.\d+){3})$/i.exec(address)?.[1] ?? address).split('%')[0] ?? '';
  const kind = kindOf(plain);
  return kind !== null && list.check(plain, kind);
}
