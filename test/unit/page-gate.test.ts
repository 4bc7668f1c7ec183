import { describe, expect, it } from 'vitest';
import { cookiesNamed, isOurHost, partsOf, whyForeign } from '../../node/page/page-gate.ts';
import { mayAct, roles } from '../../node/page/page-types.ts';

const names = ['kang', 'mesh.example.org'];

describe('the Host that a request names', () => {
  it.each([
    ['127.0.0.1:7118', '127.0.0.1'],
    ['localhost:9000', '127.0.0.1'],
    ['localhost', '::1'],
    ['[::1]:7118', '::1'],
    // A tunnel of ssh ends here on another address of loopback than was typed there.
    ['127.0.0.1:7118', '::1'],
    ['192.168.1.5:7118', '192.168.1.5'],
    ['192.168.1.5:7118', '::ffff:192.168.1.5'],
    ['[fd00::5]:7118', 'fd00::5'],
    ['kang:7118', '192.168.1.5'],
    ['Kang.local', '192.168.1.5'],
    ['kang.home.arpa:7118', '192.168.1.5'],
    ['kang.lan.', '192.168.1.5'],
    ['mesh.example.org', '127.0.0.1'],
  ])('%s, which reached %s, is ours', (host, reached) => expect(isOurHost(host, reached, names)).toBe(true));

  it.each([
    [undefined, '127.0.0.1'],
    ['', '127.0.0.1'],
    ['evil.example', '127.0.0.1'],
    ['localhost', '192.168.1.5'],
    ['127.0.0.1', '192.168.1.5'],
    ['192.168.1.6', '192.168.1.5'],
    ['localhost.evil.example', '127.0.0.1'],
    ['kang.evil.example', '192.168.1.5'],
    ['kang.com', '192.168.1.5'],
    ['mesh.example.org.lan', '192.168.1.5'],
    ['x@kang', '192.168.1.5'],
    ['kang:x', '192.168.1.5'],
    ['kang:7118:7118', '192.168.1.5'],
  ])('%s, which reached %s, is not', (host, reached) => expect(isOurHost(host, reached, names)).toBe(false));
});

describe('whether an act is our own page’s', () => {
  const head = {
    ...{ host: 'kang:7118', origin: 'http://kang:7118', contentType: 'application/json', own: 'page' },
    fetchSite: 'same-origin',
  };
  it('it is with all of it, also by https of a proxy, and of a browser that tells no site', () => {
    expect(whyForeign(head)).toBeNull();
    expect(whyForeign({ ...head, origin: 'https://kang:7118', fetchSite: undefined })).toBeNull();
    expect(whyForeign({ ...head, contentType: 'application/json; charset=utf-8' })).toBeNull();
  });
  it.each([
    [{ origin: undefined }, /Origin/],
    [{ origin: 'null' }, /another site/],
    [{ origin: 'http://kang:7119' }, /another site/],
    [{ origin: 'http://kang' }, /another site/],
    [{ fetchSite: 'same-site' }, /another site/],
    [{ own: undefined }, /x-autogit/],
    [{ contentType: 'text/plain' }, /JSON/],
    [{ contentType: 'application/jsonp' }, /JSON/],
    [{ contentType: undefined }, /JSON/],
  ])('%j is foreign', (other, why) => expect(whyForeign({ ...head, ...other })).toMatch(why));
});

it('a session’s place is read off the address, and nothing else is taken for one', () => {
  const id = 'A'.repeat(22);
  expect(partsOf(`/s/${id}/api/status`)).toEqual({ session: id, path: '/api/status' });
  expect(partsOf(`/s/${id}/`)).toEqual({ session: id, path: '/' });
  expect(partsOf(`/s/${id}`)).toEqual({ session: id, path: '' });
  for (const path of ['/s/', '/s/short/', `/s/${id}x/`, `/x/s/${id}/`, '/api/status'])
    expect(partsOf(path)).toEqual({ session: null, path });
});

it('all cookies of the name are read, and only those', () => {
  expect(cookiesNamed('autogit', 'a=1; autogit=x; autogitx=y;autogit=z')).toEqual(['x', 'z']);
  expect(cookiesNamed('autogit', undefined)).toEqual([]);
  expect(cookiesNamed('autogit', '; ;=;autogit')).toEqual([]);
});

it('each role may do what the one before may', () => {
  const may = roles.map((has) => roles.filter((needed) => mayAct(has, needed)));
  expect(may).toEqual([['viewer'], ['viewer', 'operator'], ['viewer', 'operator', 'owner']]);
});
