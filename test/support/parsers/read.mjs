// As read.py, with structured-headers of the folder in which node is started.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(`${process.cwd()}/`));
const { parseList } = await import(pathToFileURL(require.resolve('structured-headers')));

for (const line of readFileSync(0, 'utf8').split('\n').slice(0, -1)) {
  const members = parseList(line).map(([name, parameters]) => {
    if (typeof name !== 'string') throw new Error(line);
    const pairs = [...parameters].map(([key, value]) => {
      if (!Number.isInteger(value)) throw new Error(line);
      return `${key}=${value}`;
    });
    return [name, ...pairs.sort()].join('\x1e');
  });
  console.log(members.join('\x1f'));
}
