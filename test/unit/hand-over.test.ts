import { describe, expect, it } from 'vitest';
import {
  answerIn,
  bareAddress,
  clientIn,
  clientLine,
  greeting,
  type HandOver,
  handOver,
  heardFrom,
  longestLine,
  memberIn,
  memberKey,
  memberLine,
  newNonce,
  noLine,
  nonceIn,
} from '../../node/hosting/forward/hand-over.ts';

const secret = Buffer.alloc(32, 7);
const over: HandOver = {
  node: '12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8',
  door: 80,
  client: { address: '192.168.1.40', port: 50_123, at: '192.168.1.11', atPort: 80 },
};
const nonces = { gate: newNonce(), own: newNonce() };
const keyOf = (node: string): Buffer => memberKey(secret, node);
const line = (what: HandOver = over): string => handOver(what, keyOf(over.node), nonces).trimEnd();

describe('what a forwarder says to the gate of the host', () => {
  it('is heard whole, once, from a member', () => {
    expect(nonceIn(greeting(nonces.gate).trimEnd())).toBe(nonces.gate);
    const heard = heardFrom(line(), nonces.gate, keyOf);
    expect(heard).toMatchObject(over);
    expect(answerIn(heard?.yes.trimEnd() ?? '', keyOf(over.node), nonces)).toBe('ok');
    const v6 = { ...over, client: { ...over.client, address: '2001:db8::7', at: '2001:db8::1' } };
    expect(heardFrom(line(v6), nonces.gate, keyOf)).toMatchObject(v6);
    expect(handOver(v6, keyOf(over.node), nonces).length).toBeLessThan(longestLine);
  });

  it.each([
    ['a line that was said before', line(), newNonce()],
    ['another client than was signed', line().replace('192.168.1.40', '192.168.1.41'), nonces.gate],
    ['another door', line().replace(' 80 192', ' 22 192'), nonces.gate],
    ['another member', line().replace(over.node, `${over.node.slice(0, -1)}9`), nonces.gate],
    ['a PROXY line', 'PROXY TCP4 192.168.1.40 192.168.1.11 50123 80', nonces.gate],
    ['a word too much', `${line()} more`, nonces.gate],
    ['two families', line({ ...over, client: { ...over.client, at: '::1' } }), nonces.gate],
    ['no address', line({ ...over, client: { ...over.client, address: 'kang', at: 'kang' } }), nonces.gate],
    ['no port', line({ ...over, door: 70_000 }), nonces.gate],
    ['nothing', '', nonces.gate],
  ])('%s is not heard', (_, said, nonce) => {
    expect(heardFrom(said, nonce, keyOf)).toBeNull();
  });

  it('a gate without a secret hears nobody, and another key is no member', () => {
    expect(heardFrom(line(), nonces.gate, () => null)).toBeNull();
    expect(heardFrom(line(), nonces.gate, (node) => memberKey(Buffer.alloc(32, 8), node))).toBeNull();
  });

  it('the gate proves itself too', () => {
    const key = keyOf(over.node);
    expect(answerIn(noLine('key').trimEnd(), key, nonces)).toBe('key');
    expect(answerIn(`ok ${'0'.repeat(64)}`, key, nonces)).toBe('stranger');
    expect(answerIn('ok', key, nonces)).toBe('stranger');
    const heard = heardFrom(line(), nonces.gate, keyOf);
    expect(answerIn(heard?.yes.trimEnd() ?? '', key, { ...nonces, own: newNonce() })).toBe('stranger');
  });

  it('addresses stand bare in it', () => {
    expect(['::ffff:10.0.0.1', 'fe80::7%eth0', '10.0.0.1'].map(bareAddress)).toEqual([
      '10.0.0.1',
      'fe80::7',
      '10.0.0.1',
    ]);
  });

  describe('before it has a client', () => {
    const key = keyOf(over.node);
    const member = memberLine(over.node, key, nonces).trimEnd();
    const client = clientLine(over, key, nonces).trimEnd();
    const known = { key, own: nonces.own };

    it('is known as a member, and then says who the client is', () => {
      const heard = memberIn(member, nonces.gate, keyOf);
      expect(heard).toMatchObject(known);
      expect(answerIn(heard?.yes.trimEnd() ?? '', key, nonces)).toBe('ok');
      expect(clientIn(client, nonces.gate, known)).toEqual({ door: over.door, client: over.client });
    });

    it.each([
      ['said before', member, newNonce()],
      ['of another member', member.replace(over.node, `${over.node.slice(0, -1)}9`), nonces.gate],
      ['with a client already', line(), nonces.gate],
      ['with a word too much', `${member} more`, nonces.gate],
    ])('no member is one %s', (_, said, nonce) => {
      expect(memberIn(said, nonce, keyOf)).toBeNull();
    });

    it.each([
      ['that was said before', client, newNonce(), known],
      ['that another member has signed', client, nonces.gate, { ...known, key: keyOf('another') }],
      ['at another door', client.replace(/^80 /, '22 '), nonces.gate, known],
      ['that was not signed', client.replace('192.168.1.40', '192.168.1.41'), nonces.gate, known],
      ['with a word too much', `${client} more`, nonces.gate, known],
      [
        'with the answer as its sign',
        client.replace(/[^ ]+$/, memberIn(member, nonces.gate, keyOf)?.yes.slice(3, -1) ?? ''),
        nonces.gate,
        known,
      ],
    ])('no client is one %s', (_, said, nonce, by) => {
      expect(clientIn(said, nonce, by)).toBeNull();
    });

    it('a gate of before takes such a line for no hand-over, and ends it', () => {
      expect(heardFrom(member, nonces.gate, keyOf)).toBeNull();
    });
  });
});
