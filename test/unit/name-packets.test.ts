import { decode, encode } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { heardOf, nameAnswer, nameGoodbye, nameProbe, plainAnswer } from '../../node/hosting/address/name-packets.ts';
import { localNameOf } from '../../protocol/names.ts';

const name = 'home.local';
const at = { v4: ['192.168.1.10'], v6: ['2001:db8::10'] };
const asked = heardOf(name, Buffer.from(nameProbe(name)));
const query = (more: object): Buffer =>
  Buffer.from(encode({ type: 'query', id: 7, questions: [{ name, type: 'A' }], ...more }));

describe('what is said of the mesh`s name', () => {
  it('is read by others as both families, short-lived, and in place of what they knew', () => {
    const { answers = [], additionals, type, flags } = decode(Buffer.from(nameAnswer(name, 'K', at)));
    expect([type, flags]).toEqual(['response', 1 << 10]);
    expect(answers.map((one) => [one.type, 'ttl' in one && one.ttl, 'flush' in one && one.flush])).toEqual([
      ['A', 10, true],
      ['AAAA', 10, true],
      ['TXT', 10, true],
    ]);
    expect(additionals).toEqual([]);
    expect(heardOf(name, Buffer.from(nameAnswer(name, 'K', at)))).toEqual({
      kind: 'said',
      addresses: ['192.168.1.10', '2001:db8::10'],
      node: 'K',
    });
  });

  it('says what there is not, so that nobody waits for it', () => {
    const { additionals } = decode(Buffer.from(nameAnswer(name, 'K', { ...at, v6: [] })));
    expect(additionals).toMatchObject([{ type: 'NSEC', name, data: { nextDomain: name, rrtypes: ['A', 'TXT'] } }]);
  });

  it('whoever asks as one asks a DNS server gets its number and its question back', () => {
    const heard = heardOf(name, query({}));
    if (heard?.kind !== 'asked') throw new Error('no question');
    const { id, questions, answers } = decode(Buffer.from(plainAnswer(name, 'K', at, heard)));
    expect([id, questions?.[0]?.name]).toEqual([7, name]);
    expect(answers?.some((one) => 'flush' in one && one.flush)).toBe(false);
  });

  it('an end is no address', () => {
    expect(heardOf(name, Buffer.from(nameGoodbye(name, 'K', at)))).toBeNull();
  });

  it('questions of it are heard, whatever case they are in, and what who asks knows', () => {
    expect(asked).toMatchObject({ kind: 'asked', known: [] });
    expect(heardOf(name, query({ questions: [{ name: 'HOME.Local', type: 'AAAA' }] }))?.kind).toBe('asked');
    const known = (ttl: number): Buffer => query({ answers: [{ name, type: 'A', ttl, data: '192.168.1.10' }] });
    expect(heardOf(name, known(9))).toMatchObject({ known: ['192.168.1.10'] });
    expect(heardOf(name, known(4))).toMatchObject({ known: [] });
  });

  it('a stranger is told from a machine of the mesh', () => {
    const answer = encode({ type: 'response', id: 0, answers: [{ name, type: 'A', ttl: 120, data: '192.168.1.99' }] });
    expect(heardOf(name, Buffer.from(answer))).toEqual({ kind: 'said', addresses: ['192.168.1.99'], node: null });
  });

  it.each([
    ['another name', encode({ type: 'query', id: 0, questions: [{ name: 'home-2.local', type: 'A' }] })],
    ['another kind', encode({ type: 'query', id: 0, questions: [{ name, type: 'PTR' }] })],
    ['rubbish', Buffer.from('home'.repeat(20))],
    ['half a packet', Buffer.from(nameAnswer(name, 'K', at)).subarray(0, 40)],
    ['nothing', Buffer.alloc(0)],
  ])('%s is nothing', (_, packet) => {
    expect(heardOf(name, Buffer.from(packet))).toBeNull();
  });
});

it.each([
  ['home', 'home.local'],
  ["Ada's home", 'adas-home.local'],
  ['Küche & Bad', 'kuche-bad.local'],
  ['--x--', 'x.local'],
  ['家', null],
  ['a'.repeat(80), `${'a'.repeat(63)}.local`],
])('the mesh %s is %s', (mesh, found) => {
  expect(localNameOf(mesh)).toBe(found);
});
