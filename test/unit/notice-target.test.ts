import { describe, expect, it } from 'vitest';
import { noticesView } from '../../node/cli/notify-commands.ts';
import { checkTarget, targetKinds } from '../../node/notices/notice-target.ts';
import { minuteIn } from '../../node/notices/zone-clock.ts';
import { isMailAddress } from '../../node/settings/mail-address.ts';
import type { AutogitError } from '../../protocol/errors.ts';

const given = (url: string | null, secret: string | null = null) => ({ url, secret });
const refused = (...args: Parameters<typeof checkTarget>): AutogitError => {
  try {
    checkTarget(...args);
  } catch (error) {
    return error as AutogitError;
  }
  throw new Error('it was taken');
};

describe('an address that is told', () => {
  it('shows its host and nothing behind it', () => {
    const { way, shown } = checkTarget('webhook', given('https://user:pa55@home.lan:8443/hook/T0KEN?key=k'), false);
    expect(shown).toBe('https://home.lan:8443/…');
    expect(way).toEqual({ url: 'https://user:pa55@home.lan:8443/hook/T0KEN?key=k' });
    expect(checkTarget('webhook', given('http://10.0.0.4:9000'), true).shown).toBe('http://10.0.0.4:9000');
  });

  it('with a secret in it is no argument: the error names the way and repeats nothing of it', () => {
    for (const url of [
      'https://user:pa55word@home.lan/',
      'https://home.lan/hook?token=pa55word',
      'https://home.lan/api/webhooks/pa55word-0123456789abcdef/x',
    ]) {
      const error = refused('webhook', given(url), true);
      expect([error.code, error.hint]).toEqual(['bad-flag', expect.stringContaining('--url-env VAR')]);
      expect(`${error.message} ${error.hint}`).not.toContain('pa55word');
      expect(checkTarget('webhook', given(url), false).way.url).toContain('pa55word');
    }
  });

  it('of an unknown kind, of another scheme, missing or too much: each error has what to type', () => {
    expect(refused('pager', given(null), true).hint).toContain(`one of ${Object.keys(targetKinds).join(', ')}`);
    expect(refused('constructor', given(null), true).message).toBe('nobody can be told by "constructor"');
    expect(refused('webhook', given(null), true).hint).toBe('autogit-node notify add webhook https://home.lan/notices');
    expect(refused('webhook', given('home.lan'), true).hint).toBe('it is of the form https://home.lan/notices');
    expect(refused('webhook', given('file:///etc/passwd'), false).code).toBe('bad-flag');
    expect(refused('log', given('http://a'), true).hint).toBe('autogit-node notify add log');
    expect(refused('log', given(null, 'x'), true).message).toBe('log takes no secret');
    expect(refused('webhook', given('http://a', 'x'.repeat(2000)), false).code).toBe('bad-flag');
    const mail = { ...given('smtps://me:50%off@mail.lan'), to: 'me@home.lan' };
    expect(refused('mail', mail, false).hint).toContain('% is written %25');
    expect(checkTarget('mail', { ...mail, url: 'smtps://me:50%25off@mail.lan' }, false).way.url).toContain('50%25off');
  });
});

describe('notify list', () => {
  const row = (name: string, more: object = {}) => ({
    ...{
      name,
      kind: 'webhook',
      shown: 'https://home.lan/…',
      since: 0,
      because: '',
      waiting: 0,
      failing: null,
      heard: 0,
      ...more,
    },
  });
  it('says who is told, who waits, and who cannot be; and when it is quiet', () => {
    const failing = { since: 3_600_000, because: 'it answered 404' };
    const rows = [
      ...[row('a'), row('b', { waiting: 2 }), row('c', { failing })],
      ...[row('d', { failing, heard: null }), row('e', { heard: null })],
    ];
    const quiet = { from: 1320, to: 420, zone: 'UTC', all: true };
    const text = noticesView({ rows, quiet }, { isTerminal: true, columns: 130 }, 7_200_000);
    expect(text.split('\n')).toEqual([
      expect.stringMatching(/^NAME +KIND +TO +SINCE +STATE$/),
      expect.stringMatching(/^a .* 2 h +told$/),
      expect.stringMatching(/2 notices wait$/),
      expect.stringMatching(/not reached since 60 min ago: it answered 404$/),
      expect.stringMatching(/never reached; first tried 60 min ago: it answered 404$/),
      expect.stringMatching(/no notice yet; tests do not count$/),
      '# it is quiet from 22:00 to 07:00 (UTC), also of what is broken outright',
    ]);
    expect(noticesView({ rows: [], quiet: null }, { isTerminal: true, columns: 100 }, 0)).toContain(
      'notify add --help',
    );
    const piped = noticesView({ rows, quiet }, { isTerminal: false, columns: 100 }, 0).split('\n');
    expect(piped[0]).toBe('a\twebhook\thttps://home.lan/…\t1970-01-01T00:00:00.000Z\ttold');
  });

  it('the minute of the day is of the zone that was said, summer and winter', () => {
    expect(minuteIn('Europe/Paris', Date.UTC(2026, 6, 1, 21, 30))).toBe(23 * 60 + 30);
    expect(minuteIn('Europe/Paris', Date.UTC(2026, 11, 1, 21, 30))).toBe(22 * 60 + 30);
    expect(minuteIn('UTC', Date.UTC(2026, 11, 1, 0, 5))).toBe(5);
    expect(minuteIn('No/Where', 0)).toBeLessThan(1440);
  });
});

it.each(['me@home.lan', "o'neil+mesh@sub.home.lan", 'ü@home.lan'])('%s is an address of mail', (text) =>
  expect(isMailAddress(text)).toBe(true),
);
it.each([
  ...['me', 'me@', '@home.lan', 'a@b@c', 'a b@c', 'a,b@c', 'Me <me@home.lan>', 'a;b@c', '"a"@c', 'group:a@c'],
  // To a mailer a remark, which is left out of the address; and what no screen shows.
  ...[
    'me(you)@home.lan',
    'me\\@home.lan',
    '[me]@home.lan',
    'me\u0000@home.lan',
    'me\u001b[2J@home.lan',
    '\u202eem@home.lan',
  ],
  ...['me\r\nBcc: you@home.lan', `${'m'.repeat(65)}@home.lan`, 'me@home.lan\n'],
])('%j is none', (text) => expect(isMailAddress(text)).toBe(false));
