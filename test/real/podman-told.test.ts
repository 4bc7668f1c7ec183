import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { DockerConnection } from '../../node/executors/docker-connection.ts';

const folder = mkdtempSync(join(tmpdir(), 't-podman-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('Podman in Docker’s place is told by what it says of its parts, and asked again where it did not answer (public-reports 24)', async () => {
  const answers: [number, object][] = [
    [500, { message: 'it begins' }],
    [200, { Version: '4.3.1', Components: [{ Name: 'Podman Engine', Version: '4.3.1' }, { Name: 'Conmon' }] }],
  ];
  const server = createServer((_, answer) => {
    const [status, body] = answers.shift() ?? [200, {}];
    answer.writeHead(status, { 'Content-Type': 'application/json' });
    answer.end(JSON.stringify(body));
  });
  const socket = join(folder, 's');
  server.listen(socket);
  await once(server, 'listening');
  try {
    const engine = new DockerConnection(`unix://${socket}`, systemClock());
    await expect(engine.isPodman()).rejects.toThrow('it begins');
    expect(await engine.isPodman()).toBe(true);
    answers.push([200, { Version: '20.10', Components: [{ Name: 'Engine' }, { Name: 'containerd' }] }]);
    expect(await new DockerConnection(`unix://${socket}`, systemClock()).isPodman()).toBe(false);
    answers.push([200, { Version: '1.13' }]);
    expect(await new DockerConnection(`unix://${socket}`, systemClock()).isPodman()).toBe(false);
  } finally {
    server.close();
  }
});
