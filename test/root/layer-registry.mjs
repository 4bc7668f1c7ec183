import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

/** A registry with one image of one layer of 48 MiB that no compression makes small; prints its port. */
const script = 'd=$(mktemp -d); head -c 48M /dev/urandom >$d/large; tar -C $d -c large; rm -r $d';
const layer = execFileSync('sh', ['-c', script], { maxBuffer: 1 << 30 });
const digest = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const config = Buffer.from(
  JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [digest(layer)] },
  }),
);
const part = (mediaType, bytes) => ({ mediaType, size: bytes.length, digest: digest(bytes) });
const manifestType = 'application/vnd.docker.distribution.manifest.v2+json';
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    config: part('application/vnd.docker.container.image.v1+json', config),
    layers: [part('application/vnd.docker.image.rootfs.diff.tar', layer)],
  }),
);
const server = createServer(({ url = '', method }, answer) => {
  const [type, body] =
    url === '/v2/'
      ? ['application/json', Buffer.from('{}')]
      : url.includes('/manifests/')
        ? [manifestType, manifest]
        : ['application/octet-stream', url.endsWith(digest(config)) ? config : layer];
  answer.writeHead(200, {
    'Content-Type': type,
    'Content-Length': body.length,
    'Docker-Content-Digest': digest(body),
  });
  answer.end(method === 'HEAD' ? undefined : body);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
