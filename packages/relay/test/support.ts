export * from '@postrider/test/relay'
