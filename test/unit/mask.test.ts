import { describe, expect, it } from 'vitest';
import { freshMask, Mask } from '../../gitlab-bridge/mask.ts';
import { simplyMasked } from './plain-definitions.ts';

/** A whole text at once. */
function maskText(text: string, secrets: readonly string[], prefixes: readonly string[] = []): string {
  const mask = new Mask(secrets, prefixes);
  return Buffer.concat([mask.push(Buffer.from(text)), mask.flush()]).toString();
}

/** A small generator, so that a failing case can be run again by its seed. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const secrets = ['abab', 'ababb', 'bbaab', 'xaab-1', 'glpat-abab'];
const prefixes = ['tok-', 'glpat-'];
const words = ['a', 'b', 'ab', 'aab', 'x', '-', '1', 'tok-', 'glpat-', ' ', '\n', 'abab', 'glp'];
const inAddresses = ['?', '&', '=', '?private_token=', '&X-Amz-Signature=', '&page=2'];
const alphabet = [...words, ...inAddresses];

describe('mask', () => {
  it('masks whole secrets and nothing else', () => {
    expect(maskText('my password is hunter2hunter2, really', ['hunter2hunter2'])).toBe(
      'my password is [MASKED], really',
    );
    expect(maskText('glcbt-64_abcDEF.x= and glcbt- alone', [])).toBe('[MASKED] and glcbt- alone');
    expect(maskText('abcdefgh', ['abcdef', 'defgh'])).toBe('[MASKED]');
    expect(maskText('a b c', ['', 'a'])).toBe('a b c');
  });

  it('masks what opens something in an address, as gitlab-runner does, and leaves the rest of it to be read', () => {
    const address = 'https://s3.lan/a?X-Amz-Credential=AKIA%2F2026&X-Amz-Date=2026&x-amz-signature=0a1b2c&page=2';
    expect(maskText(`GET ${address} and ?private_token=pat/+x\n`, [])).toBe(
      'GET https://s3.lan/a?X-Amz-Credential=[MASKED]&X-Amz-Date=2026&x-amz-signature=[MASKED]&page=2 and ?private_token=[MASKED]\n',
    );
    expect(maskText('?private_token= and a cookie _gitlab_session=0123abcd', [])).toBe(
      '?private_token= and a cookie [MASKED]',
    );
  });

  it('gives the same however the stream is cut, and as the definition says', () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const pick = generator(seed);
      let text = '';
      for (let n = pick(24); n >= 0; n--) text += alphabet[pick(alphabet.length)];
      const mask = new Mask(secrets, prefixes);
      let out = '';
      for (let at = 0; at < text.length; ) {
        const size = 1 + pick(7);
        out += mask.push(Buffer.from(text.slice(at, at + size))).toString();
        at += size;
      }
      out += mask.flush().toString();
      expect(out, `seed ${seed}: ${JSON.stringify(text)}`).toBe(simplyMasked(text, secrets, prefixes));
    }
  });

  it('goes on after a crash at any point as if nothing had happened', () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const pick = generator(seed);
      let text = '';
      for (let n = pick(24); n >= 0; n--) text += alphabet[pick(alphabet.length)];
      const bytes = Buffer.from(text);
      let out = '';
      let mask = new Mask(secrets, prefixes, freshMask);
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + pick(7);
        out += mask.push(bytes.subarray(at, at + size)).toString();
        at = Math.min(bytes.length, at + size);
        if (pick(3) === 0) {
          // The crash: only what was emitted, the state and the place survive.
          at -= mask.heldBytes;
          mask = new Mask(secrets, prefixes, mask.state);
        }
      }
      out += mask.flush().toString();
      expect(out, `seed ${seed}: ${JSON.stringify(text)}`).toBe(simplyMasked(text, secrets, prefixes));
    }
  });

  it('never emits a part of a secret, byte by byte', () => {
    const secret = 'S3CRET-value-of-32-characters-xx';
    const mask = new Mask([secret]);
    let out = '';
    for (const byte of Buffer.from(`before ${secret}${secret} after`)) {
      out += mask.push(Buffer.from([byte])).toString();
      expect(out).not.toMatch(/S3C|value|xx/);
    }
    expect(out + mask.flush().toString()).toBe('before [MASKED][MASKED] after');
  });

  it('takes no longer for prefixes that stand in one token than for other text', () => {
    // From each of them it walked to the token's end: 100 s for 1 MiB, in which the agent does nothing else.
    const bytes = Buffer.alloc(1 << 20, 'glpat-');
    const mask = new Mask([]);
    const before = process.cpuUsage();
    const out = Buffer.concat([mask.push(bytes), mask.push(Buffer.from('glpat-x end')), mask.flush()]).toString();
    const { user, system } = process.cpuUsage(before);
    expect(out).toBe('[MASKED] end');
    expect((user + system) / 1000).toBeLessThan(1000);
  });

  it('leaves bytes that are no UTF-8 alone', () => {
    const bytes = Buffer.from([0xff, 0x00, 0xc3, 0x28, 0xfe]);
    const mask = new Mask(['secret']);
    expect(Buffer.concat([mask.push(bytes), mask.flush()])).toEqual(bytes);
  });
});
