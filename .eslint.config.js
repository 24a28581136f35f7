import jsdoc from 'eslint-plugin-jsdoc'
import tseslint from 'typescript-eslint'

// Promises of ours that are handled already, so nobody has to await them: law 4.
const handled = ['close', 'ping', 'once', 'markHandled', 'next', 'return', 'emit', 'broadcast']
const handledHere = handled.map((name) => ({ from: 'file', name }))

export default tseslint.config(
  {
    ignores: [
      ...['dist', 'coverage', 'docs/api', 'docs/site', '.eslint.config.js', '.typedoc.js'],
      ...['samples/**/*.js', 'spec/runtimes', '**/*.cjs'], // what a browser or another runtime takes as it is
    ],
  },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            ...handledHere,
            { from: 'package', package: 'node:test', name: ['test', 'describe', 'it', 'suite'] },
          ],
        },
      ],
      // Callers in plain JavaScript are told of their slips too, whatever the types promise.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-empty-function': 'off',
      // An event without a value is an event of `void`.
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-misused-spread': 'off',
      // `{}` is the type of "anything but nothing", which a context is.
      '@typescript-eslint/no-empty-object-type': 'off',
      // A getter of a literal lies on the prototype, a field takes memory in each object.
      '@typescript-eslint/class-literal-property-style': 'off',
      // A message put into a template is text, or bytes that somebody wants to see.
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/ban-ts-comment': ['error', { minimumDescriptionLength: 3 }],
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      '@typescript-eslint/explicit-function-return-type': ['error', { allowExpressions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  {
    // Docstrings: a verb in the third person, a noun, or `Whether`.
    files: ['lib/**'],
    plugins: { jsdoc },
    settings: { jsdoc: { mode: 'typescript' } },
    rules: {
      'jsdoc/check-alignment': 'error',
      'jsdoc/check-param-names': 'error',
      'jsdoc/check-syntax': 'error',
      'jsdoc/check-tag-names': ['error', { definedTags: ['hidden', 'packageDocumentation'] }],
      'jsdoc/empty-tags': 'error',
      'jsdoc/match-description': [
        'error',
        {
          matchDescription: String.raw`^\n?(?!(Is|Are|Who|Whom|What|Somebody|Nobody|Tells whether|He|She|They)\b)[A-Z0-9'\x60][\s\S]*[.:\x60?\)]\s*$`,
          contexts: ['any'],
        },
      ],
      'jsdoc/multiline-blocks': ['error', { noZeroLineText: false }],
      'jsdoc/no-bad-blocks': ['error', { ignore: ['__PURE__'] }],
      'jsdoc/no-multi-asterisks': 'error',
      'jsdoc/no-types': 'error',
      'jsdoc/require-description': [
        'error',
        { contexts: ['any'], exemptedBy: ['hidden', 'internal', 'throws'] },
      ],
    },
  },
  {
    // Untyped payloads are `any` by default, so that no example needs an annotation. The other
    // files have types that stand for every target, connection, room or server.
    files: [
      'lib/channels/**',
      'lib/events/listenable.ts',
      'lib/connection/connection.ts',
      'lib/rooms/room.ts',
      'lib/server/server.ts',
    ],
    rules: { '@typescript-eslint/no-explicit-any': 'off' },
  },
  {
    // Whoever takes them so looks into them.
    files: ['samples/**', 'spec/channels/**'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
    },
  },
  {
    // A spec throws what nobody should throw, to see what becomes of it, and compares types by them.
    files: ['spec/**'],
    rules: {
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
)
