import { describe, expect, it } from 'vitest';
import { type ClockSources, createClock, systemClock } from '../../node/clock.ts';
import { redact } from '../../node/log.ts';
import { diskProblem, osName } from '../../node/machine/machine.ts';
import { newMeshKey, seal, unseal } from '../../node/secrets/seal.ts';
import { parseDuration, parseSize, showBytes, showDuration, showShare } from '../../node/settings/quantities.ts';
import { archName } from '../../scheduler/jobs/demand.ts';

describe('clock', () => {
  /** SAFETY H4. A kernel in numbers: boot time in steps of 10 ms, a monotonic clock that stands still in suspend. */
  function kernel() {
    const now = { boot: 5_000_000, monotonic: 700 };
    const sources: ClockSources = {
      uptime: () => `${(Math.floor(now.boot / 10) / 100).toFixed(2)} 123.45\n`,
      monotonic: () => now.monotonic,
      bootId: () => 'b',
      wall: () => 0,
    };
    const pass = (ms: number, isSuspended = false) => {
      now.boot += ms;
      if (!isSuspended) now.monotonic += ms;
    };
    return { clock: createClock(sources), pass, now };
  }

  it('counts single milliseconds, never back, never off by more than a step', () => {
    const { clock, pass, now } = kernel();
    let last = clock.bootMs();
    for (let i = 0; i < 2000; i++) {
      pass((i * 7) % 5);
      const at = clock.bootMs();
      expect(at).toBeGreaterThanOrEqual(last);
      expect(Math.abs(at - now.boot)).toBeLessThanOrEqual(10);
      last = at;
    }
    const before = clock.bootMs();
    pass(3);
    expect(clock.bootMs() - before).toBe(3);
  });

  it('knows of a suspend at the very next look', () => {
    const { clock, pass, now } = kernel();
    const before = clock.bootMs();
    pass(3_600_000, true);
    expect(clock.bootMs() - before).toBeGreaterThanOrEqual(3_599_990);
    expect(clock.bootMs()).toBeLessThanOrEqual(now.boot + 10);
  });

  it('follows a monotonic clock that runs fast', () => {
    const { clock, now } = kernel();
    let last = clock.bootMs();
    for (let i = 0; i < 1000; i++) {
      now.boot += 10;
      now.monotonic += 11;
      expect(clock.bootMs()).toBeGreaterThanOrEqual(last);
      last = clock.bootMs();
    }
    expect(Math.abs(last - now.boot)).toBeLessThanOrEqual(10);
  });

  it('is this machine’s', () => {
    const clock = systemClock();
    expect(clock.bootMs()).toBeGreaterThan(0);
    expect(clock.bootId()).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('seal', () => {
  const key = newMeshKey();
  it('opens with its key only, and never looks the same twice', () => {
    expect(unseal(key, seal(key, 'glrt-größe'))).toBe('glrt-größe');
    expect(seal(key, 'x')).not.toBe(seal(key, 'x'));
    expect(() => unseal(newMeshKey(), seal(key, 'x'))).toThrow(expect.objectContaining({ code: 'store-corrupt' }));
  });

  it('refuses every changed byte, short texts and bad keys', () => {
    const sealed = Buffer.from(seal(key, 'secret'), 'base64');
    for (let i = 0; i < sealed.length; i++) {
      const changed = Buffer.from(sealed);
      changed[i] = (changed[i] as number) ^ 1;
      expect(() => unseal(key, changed.toString('base64'))).toThrow();
    }
    for (const text of ['', 'AAAA', 'no base64!']) expect(() => unseal(key, text)).toThrow();
    for (const bad of ['', 'zz'.repeat(32), key.slice(2)]) expect(() => seal(bad, 'x')).toThrow(/32 bytes/);
  });
});

describe('redact', () => {
  it.each([
    ['glpat-abc_DEF-123', 'glpat-[redacted]'],
    ['glrt-t1_x9.01.ab', 'glrt-[redacted]'],
    ['glcbt-64_abc', 'glcbt-[redacted]'],
    ['GR1348941abcdef', 'GR1348941[redacted]'],
    ['http://gitlab-ci-token:pass@host/x.git', 'http://gitlab-ci-token:[redacted]@host/x.git'],
    ['{"token":"a\\"b","n":1}', '{"token":"[redacted]","n":1}'],
    ['{"PRIVATE-TOKEN":"abc"}', '{"PRIVATE-TOKEN":"[redacted]"}'],
    ['exit code 3 at http://host:8080/a@b', 'exit code 3 at http://host:8080/a@b'],
  ])('%s', (text, expected) => {
    expect(redact(text)).toBe(expected);
  });
});

describe('quantities', () => {
  it('reads', () => {
    expect(['90s', '10m', '2h', '1.5h', '500ms', '7', '1d'].map(parseDuration)).toEqual([
      90_000, 600_000, 7_200_000, 5_400_000, 500, 7000, 86_400_000,
    ]);
    expect(['512m', '24g', '24GiB', '1.5t', '100', '2 GB'].map(parseSize)).toEqual([
      512 << 20,
      24 * 2 ** 30,
      24 * 2 ** 30,
      1.5 * 2 ** 40,
      100,
      2 ** 31,
    ]);
    expect(['1h30m', '2m5s', '1d12h', '1.5h30s'].map(parseDuration)).toEqual([
      5_400_000, 125_000, 129_600_000, 5_430_000,
    ]);
    for (const bad of ['1h30', '1h30x', '', 'x', '-1s', '1w', '1e9', '10 m x'])
      expect(() => parseDuration(bad)).toThrow();
    for (const bad of ['', 'g', '-1g', '1x', '0x10']) expect(() => parseSize(bad)).toThrow();
  });

  it('shows', () => {
    expect([0, 120, 4_000, 9_940, 14_000, 1_320_000, 10_800_000, 400_000_000].map(showDuration)).toEqual([
      '0.0 s',
      '0.1 s',
      '4 s',
      '9.9 s',
      '14 s',
      '22 min',
      '3 h',
      '5 d',
    ]);
    expect([0, 512, 24 * 2 ** 30, 1.5 * 2 ** 30, 23.99 * 2 ** 30].map(showBytes)).toEqual([
      '0 B',
      '512 B',
      '24 GiB',
      '1.5 GiB',
      '24 GiB',
    ]);
    expect(showShare(20.4 * 2 ** 30, 126 * 2 ** 30)).toBe('20/126 GiB');
    expect(showShare(2150 * 2 ** 30, 4000 * 2 ** 30)).toBe('2.1/3.9 TiB');
  });
});

describe('machine', () => {
  it('names processor and system', () => {
    expect(['x64', 'arm64', 'riscv64', 's390x'].map(archName)).toEqual(['amd64', 'arm64', 'riscv64', 's390x']);
    expect(osName('NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', '6.1')).toBe(
      'Debian GNU/Linux 12 (bookworm)',
    );
    expect(osName('', '5.15.167.4-microsoft-standard-WSL2')).toBe('Linux (WSL2)');
  });

  it('is unhealthy on a full disk', () => {
    expect(diskProblem({ total: 1000, free: 9 })).toContain('less than 1 %');
    expect(diskProblem({ total: 1000, free: 10 })).toBeNull();
  });
});
