import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

let files: readonly [cert: string, key: string] | undefined

/** Makes a certificate for this machine, once, and returns the files of it and of its key. */
export function certificate(): readonly [cert: string, key: string] {
  if (files) return files
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  files = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const [cert, key] = files
  const kind = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
  ]
  const about = ['-subj', '/CN=localhost', '-days', '1', '-keyout', key, '-out', cert]
  execFileSync('openssl', [...kind, ...about], { stdio: 'ignore' })
  return files
}
